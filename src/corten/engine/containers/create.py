"""Create a container: decide, make its layer and volumes, write the row last. Daemon, on the loop.

The row is what makes a container exist: a daemon that dies before it has written it leaves directories without a row,
which recovery removes. Nothing here is fsynced by its own: a container that a power cut forgets was never started.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from pathlib import Path

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.collaborators import Images, Networks, ResolvedImage, ShimPool, Snapshots
from corten.engine.containers.links import check_links
from corten.engine.containers.live import Container
from corten.engine.containers.merge import merge_image
from corten.engine.containers.names import random_name
from corten.engine.containers.record import ContainerRecord, command_of
from corten.engine.containers.registry import Registry, check_name
from corten.engine.containers.settings import ContainerSettings
from corten.engine.containers.trace import Trace
from corten.engine.containers.validate import (
    check_config,
    check_host,
    fill_host_defaults,
    take_egress_label,
    warnings_of,
)
from corten.engine.containers.volumes import MountSetup
from corten.engine.events import Events
from corten.engine.networks.settings import AttachRequest
from corten.errors import InvalidArgument, NotFound
from corten.lib import blocking
from corten.lib.undo import Undo
from corten.spec import platform as platforms
from corten.spec.docker import messages
from corten.spec.docker.container import ContainerConfig, CreateRequest, CreateResponse
from corten.spec.docker.hostconfig import HostConfig
from corten.spec.docker.network import EndpointSettings


class PlatformMismatch(NotFound):
    """The image here is for another platform than the one asked for; the client pulls and asks again."""

    code = "platform-mismatch"


class Creator:
    """The use case of POST /containers/create."""

    def __init__(
        self,
        *,
        settings: ContainerSettings,
        registry: Registry,
        images: Images,
        snapshots: Snapshots,
        networks: Networks,
        shims: ShimPool,
        mounts: MountSetup,
        events: Events,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._images = images
        self._snapshots = snapshots
        self._networks = networks
        self._shims = shims
        self._mounts = mounts
        self._events = events
        self._rng = random.SystemRandom()

    async def create(
        self,
        name: str,
        request: CreateRequest,
        platform: str = "",
        *,
        base: ResolvedImage | None = None,
        owner: str = "",
    ) -> CreateResponse:
        """Raises InvalidArgument, NotFound (image, container, network), Conflict (name).

        `base` is what it stands on when that has no name (a step of a build); `owner` as in ContainerRecord.
        """
        config, host = request.config(), request.host_config or HostConfig()
        if not config.image and not config.cmd and not config.entrypoint:
            raise InvalidArgument(messages.EMPTY_CONFIG)
        wanted_name = check_name(name) if name else ""
        check_host(host, config, self._settings)
        image = base or self._images.resolve(config.image)
        check_platform(image, config.image, platform)
        merge_image(config, image.config.defaults)
        check_config(config)
        fill_host_defaults(host, self._settings)
        take_egress_label(host, config)
        networks = endpoints_of(request, host)
        self._resolve_modes(host)
        check_links(host, self._registry.find)
        cid = self._shims.new_id()
        trace = Trace("create", cid)
        async with Undo() as undo:
            undo.push(self._shims.forget, cid)
            taken = wanted_name or random_name(lambda text: self._registry.named(text) is not None, self._rng)
            self._registry.reserve(taken, cid)
            undo.push(self._registry.unreserve, taken, cid)
            if not host.network_mode.startswith("container:"):
                # A missing network is told at the start, as dockerd does: to clients a 404 here is a missing image.
                with contextlib.suppress(NotFound):
                    self._networks.check(attach_request(taken, config, host, networks))
            planned = self._mounts.plan(config, host)
            trace.mark("plan")
            undo.push(self._give_up_layer, cid)
            self._snapshots.prepare(cid, image.chain_id)
            directory = self._settings.directory(cid)
            make_directory(directory)
            undo.push(remove_directory, directory)
            trace.mark("layer")
            mounts = await self._mounts.create(planned, host, undo)
            if mounts:
                await self._mounts.populate(cid, mounts)
            _name_host(cid, config, host)
            record = _record(cid, taken, image, config, host, owner)
            record = msgspec.structs.replace(
                record, mounts=mounts, networks=networks, log_path=_log_path(cid, directory, host)
            )
            self._registry.add(Container(record))
            undo.keep()
        trace.mark("record")
        announce(self._events, record, "create")
        trace.done()
        return CreateResponse(id=cid, warnings=warnings_of(host))

    async def _give_up_layer(self, cid: str) -> None:
        """Nothing of a layer stays on a disk that may be full."""
        self._snapshots.remove(cid)
        await blocking.run(self._snapshots.purge)

    def _resolve_modes(self, host: HostConfig) -> None:
        """`container:<name>` becomes `container:<id>`, so that a rename does not change who is meant. One that is not
        there is told at the start."""
        for field in ("network_mode", "pid_mode", "ipc_mode"):
            kind, _colon, reference = getattr(host, field).partition(":")
            if kind == "container" and reference:
                with contextlib.suppress(NotFound):
                    setattr(host, field, f"container:{self._registry.find(reference).id}")


def _name_host(cid: str, config: ContainerConfig, host: HostConfig) -> None:
    """The host name of a container that was given none: its id, or the machine's name on its network."""
    if not config.hostname and not host.network_mode.startswith("container:") and host.uts_mode != "host":
        config.hostname = cid[:12] if host.network_mode != "host" else os.uname().nodename


def _log_path(cid: str, directory: Path, host: HostConfig) -> str:
    return "" if host.log_config.type == "none" else os.fspath(directory / f"{cid}-json.log")


def _record(
    cid: str, name: str, image: ResolvedImage, config: ContainerConfig, host: HostConfig, owner: str
) -> ContainerRecord:
    command = command_of(config)
    return ContainerRecord(
        id=cid,
        name=name,
        created_ns=time.time_ns(),
        image_id=image.id,
        chain_id=image.chain_id,
        config=config,
        host_config=host,
        path=command[0],
        args=command[1:],
        owner=owner,
    )


def check_platform(image: ResolvedImage, reference: str, wanted: str) -> None:
    """`--platform` of create against the image that is here. Raises PlatformMismatch, InvalidArgument."""
    if not wanted:
        return
    asked, has = platforms.parse(wanted), image.config.platform
    if platforms.choose([has], asked) is None:
        raise PlatformMismatch(
            f"image with reference {reference} was found but its platform ({has}) "
            f"does not match the specified platform ({asked})"
        )


def endpoints_of(request: CreateRequest, host: HostConfig) -> dict[str, EndpointSettings]:
    """The networks asked for, by name; `default` means the default bridge. The mode's own is always among them."""
    given = (request.networking_config and request.networking_config.endpoints_config) or {}
    result = {
        ("bridge" if name == "default" else name): settings or EndpointSettings() for name, settings in given.items()
    }
    mode = host.network_mode
    if mode.startswith("container:"):
        if result:
            raise InvalidArgument(
                "conflicting options: container sharing network namespace with another container or host "
                "cannot be connected to any other network"
            )
        return {}
    if mode == "host" and any(name != "host" for name in result):
        raise InvalidArgument("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    result.setdefault(mode, EndpointSettings())
    return result


def attach_request(
    name: str,
    config: ContainerConfig,
    host: HostConfig,
    networks: dict[str, EndpointSettings],
    *,
    dns: tuple[str, ...] = (),
    checked: bool = False,
) -> AttachRequest:
    """What the network service is asked for. Disabled networking is the network `none`."""
    return AttachRequest(
        name=name,
        mode="none" if config.network_disabled else host.network_mode,
        hostname=config.hostname,
        endpoints={} if config.network_disabled else networks,
        port_bindings=host.port_bindings or {},
        exposed=tuple(config.exposed_ports or ()),
        publish_all=host.publish_all_ports,
        mac=config.mac_address,
        dns=dns,
        checked=checked,
        labels=config.labels or {},
        egress=egress_rules(host),
    )


def egress_rules(host: HostConfig) -> tuple[str, ...] | None:
    """The rules of the egress list, None: unlimited."""
    return None if host.egress is None or host.egress is msgspec.UNSET else tuple(host.egress)


def make_directory(directory: Path) -> None:
    """A container's directory; its parent is made once. 0710: users of the host do not look in (CVE-2021-41091)."""
    try:
        os.mkdir(directory, 0o710)
    except FileNotFoundError:
        os.makedirs(directory.parent, 0o710, exist_ok=True)
        os.mkdir(directory, 0o710)


def remove_directory(directory: Path) -> None:
    """Remove a container's directory with the files that the engine put there; nothing deeper can be in it."""
    try:
        with os.scandir(directory) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(directory)
