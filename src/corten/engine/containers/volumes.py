"""Give a container's mounts their sources: volumes made and filled, bind sources made or found missing. Daemon.

Decisions are in mounts.py. Copying an image's content into a new volume goes by descriptor from a read-only mount of
the container's root (`Snapshots.root_fd`), so that no link in the image leads out.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import msgspec

from corten.engine.containers.collaborators import Snapshots, Volumes
from corten.engine.containers.mounts import InvalidMount, anonymous_name, inherited, parse_volumes_from, plan_mounts
from corten.engine.containers.record import ContainerRecord, MountRecord
from corten.engine.containers.registry import Registry
from corten.errors import CortenError, NotFound
from corten.lib import blocking
from corten.lib.undo import Undo
from corten.spec.docker.container import ContainerConfig
from corten.spec.docker.hostconfig import HostConfig
from corten.volumes.copy_up import copy_up

_LOG = logging.getLogger("corten.containers")


class MountSetup:
    """What create, start, exit and remove do about mounts."""

    def __init__(self, *, registry: Registry, volumes: Volumes, snapshots: Snapshots) -> None:
        self._registry = registry
        self._volumes = volumes
        self._snapshots = snapshots

    def plan(self, config: ContainerConfig, host: HostConfig) -> list[MountRecord]:
        """The mounts that a container asks for. Raises InvalidMount."""
        taken_over: list[MountRecord] = []
        for spec in host.volumes_from or ():
            name, mode = parse_volumes_from(spec)
            try:
                taken_over += inherited(self._registry.find(name).record.mounts, mode)
            except NotFound as error:  # not a 404: to clients of create that is a missing image, which they then pull
                raise InvalidMount(error.message) from error
        planned = plan_mounts(
            binds=host.binds or (),
            mounts=host.mounts or (),
            tmpfs=host.tmpfs or {},
            image_volumes=config.volumes or (),
            taken_over=taken_over,
            volume_driver=host.volume_driver,
        )
        for mount in planned:
            if mount.type == "bind" and mount.must_exist and not os.path.lexists(mount.source):
                raise InvalidMount(
                    f'invalid mount config for type "bind": bind source path does not exist: {mount.source}'
                )
        return planned

    async def create(self, planned: Sequence[MountRecord], host: HostConfig, undo: Undo) -> tuple[MountRecord, ...]:
        """Volumes exist from here on; anonymous ones are removed again when the create fails."""
        options = {mount.source: mount.volume_options for mount in host.mounts or () if mount.type == "volume"}
        result = []
        for mount in planned:
            if mount.type != "volume":
                result.append(mount)
                continue
            name = mount.name or anonymous_name()
            given = options.get(mount.name)
            driver = given.driver_config if given is not None else None
            volume = await self._volumes.ensure(
                name,
                driver=mount.driver,
                options=driver.options if driver is not None else None,
                labels=given.labels if given is not None else None,
                anonymous=mount.anonymous,
            )
            if mount.anonymous:
                undo.push(self._volumes.remove, name)
            result.append(
                msgspec.structs.replace(mount, name=volume.name, driver=volume.driver, source=volume.mountpoint)
            )
        return tuple(result)

    async def populate(self, cid: str, mounts: Sequence[MountRecord]) -> None:
        """Copy what the image has below empty volumes into them."""
        wanted = [mount for mount in mounts if mount.copy_up and mount.type == "volume" and _is_empty(mount.source)]
        if wanted:
            await blocking.run(self._populate, cid, wanted)

    def _populate(self, cid: str, mounts: Sequence[MountRecord]) -> None:
        root = self._snapshots.root_fd(cid, writable=False)
        try:
            for mount in mounts:
                copy_up(root, mount.destination, mount.source)
        finally:
            os.close(root)

    async def mount(self, record: ContainerRecord, undo: Undo) -> tuple[MountRecord, ...]:
        """Before a start: volumes are in use, sources of `-v` exist. Returns the mounts with their sources."""
        result = []
        for mount in record.mounts:
            if mount.type == "volume":
                source = await self._volumes.mount(
                    mount.name, record.id, destination=mount.destination, read_only=mount.read_only
                )
                undo.push(self._volumes.release, mount.name, record.id)
                mount = msgspec.structs.replace(mount, source=source)
            elif mount.type == "bind":
                _ensure_source(mount)
            result.append(mount)
        return tuple(result)

    def adopt(self, record: ContainerRecord) -> None:
        """A daemon that starts finds the container running."""
        for mount in record.mounts:
            if mount.type == "volume":
                self._volumes.adopt(mount.name, record.id)

    async def release(self, record: ContainerRecord) -> None:
        """After the end."""
        for mount in record.mounts:
            if mount.type == "volume":
                try:
                    await self._volumes.release(mount.name, record.id)
                except (CortenError, OSError):
                    _LOG.exception("volume %s of container %s could not be released", mount.name, record.id)

    async def remove_anonymous(self, record: ContainerRecord) -> None:
        """`docker rm -v`: volumes without a name of their own go too, unless somebody else uses them."""
        for mount in record.mounts:
            if mount.type == "volume" and mount.anonymous:
                try:
                    await self._volumes.remove(mount.name)
                except (CortenError, OSError) as error:
                    _LOG.warning("volume %s of container %s stays: %s", mount.name, record.id, error)


def _is_empty(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def _ensure_source(mount: MountRecord) -> None:
    """The source of `-v` is made when it is missing, that of `--mount` must be there. Raises InvalidMount."""
    if os.path.exists(mount.source):
        return
    if mount.must_exist:
        raise InvalidMount(f'invalid mount config for type "bind": bind source path does not exist: {mount.source}')
    try:
        os.makedirs(mount.source, 0o755, exist_ok=True)
    except OSError as error:
        raise InvalidMount(
            f"error while creating mount source path '{mount.source}': "
            f"mkdir {mount.source}: {(error.strerror or '').lower()}"
        ) from error
