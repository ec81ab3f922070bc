"""The volume use cases: create, list, inspect, remove, prune, and mounting for containers. Daemon only, on the loop.

What a volume is stands in one row; its content is its driver's. Who uses a volume is asked of the containers at the
moment it matters, so that there are no counters to go wrong.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from corten.engine.containers.collaborators import VolumeRef
from corten.engine.events import Events
from corten.errors import Conflict, InvalidArgument, NotFound
from corten.lib import blocking, codec
from corten.lib.keylock import KeyLock
from corten.lib.timestamps import rfc3339_nano
from corten.spec.docker.volume import Volume, VolumeCreateRequest, VolumeList, VolumePruneReport, VolumeUsage
from corten.volumes.driver import VolumeDriver

__all__ = ["VolumeNotFound", "VolumeRef", "VolumeService"]

_LOG = logging.getLogger("corten.volumes")
ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_NAME_LIMIT = 255
_TRUE, _FALSE = {"1", "true", "t"}, {"0", "false", "f"}


class VolumeNotFound(NotFound):
    """No volume has this name."""

    code = "volume-not-found"


class VolumeInUse(Conflict):
    """A container uses the volume."""

    code = "volume-in-use"


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A volume's row."""

    name: str
    driver: str = "local"
    created: str
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None


class Table(Protocol):
    """A table of the daemon's database."""

    def put(self, key: str, value: bytes, name: str = "") -> None:
        """Store."""

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error."""

    def list(self) -> Iterable[tuple[str, bytes]]:
        """All (key, value)."""


class VolumeUsers(Protocol):
    """The containers, as volumes need them."""

    def volume_users(self, name: str) -> Sequence[str]:
        """Ids of the containers, running or not, that have this volume."""


class VolumeService:
    """All volumes. `users` may be set later, by wire.py."""

    def __init__(
        self, *, drivers: Mapping[str, VolumeDriver], table: Table, events: Events, users: VolumeUsers | None = None
    ) -> None:
        self.users = users
        self._drivers = drivers
        self._table = table
        self._events = events
        self._locks = KeyLock()
        self._active: dict[str, set[str]] = {}
        self._records: dict[str, VolumeRecord] = {}
        for name, value in table.list():
            self._records[name] = codec.decode(VolumeRecord, value)
        self._reconcile()

    def _reconcile(self) -> None:
        """Rows without content (a removal was cut off) go; content without a row (another engine's) is taken in."""
        present = set(self._drivers["local"].names())
        for name, record in list(self._records.items()):
            if record.driver == "local" and name not in present:
                _LOG.warning("volume %s has lost its content and is forgotten", name)
                del self._records[name]
                self._table.delete(name)
        for name in present - set(self._records):
            if _NAME.match(name):
                self._store(VolumeRecord(name=name, created=_now()))

    def _store(self, record: VolumeRecord) -> None:
        self._table.put(record.name, codec.encode(record), record.name)
        self._records[record.name] = record

    # -- the API's verbs

    def list(self, filters: Mapping[str, Sequence[str]]) -> VolumeList:
        """All volumes that the filters let through, by name."""
        chosen = [record for record in self._records.values() if self._matches(record, filters)]
        return VolumeList(volumes=[self._view(record) for record in sorted(chosen, key=lambda r: r.name)])

    def inspect(self, name: str) -> Volume:
        """One volume. Raises VolumeNotFound."""
        return self._view(self._get(name))

    async def create(self, request: VolumeCreateRequest) -> Volume:
        """The volume that is asked for; the one there is when it has this name and driver."""
        if request.cluster_volume_spec is not None:
            raise InvalidArgument("cluster volumes are not supported: Corten runs containers on one host")
        reference = await self.ensure(
            request.name or "",
            driver=request.driver or "",
            options=request.driver_opts,
            labels=request.labels,
            anonymous=not request.name,
        )
        return self.inspect(reference.name)

    async def remove(self, name: str, *, force: bool = False) -> None:  # noqa: ARG002 - force is for plugins that fail
        """Destroy a volume with its content. Raises VolumeNotFound, VolumeInUse."""
        async with self._locks.hold(name):
            record = self._get(name)
            users = self._users(name)
            if users:
                raise VolumeInUse(f"remove {name}: volume is in use - [{', '.join(users)}]")
            await self._destroy(record)

    async def prune(self, filters: Mapping[str, Sequence[str]]) -> VolumePruneReport:
        """Destroy what no container has: the anonymous ones, with `all` the named ones too."""
        everything = _flag(filters.get("all", ()), "all")
        deleted: list[str] = []
        reclaimed = 0
        for record in list(self._records.values()):
            if not everything and ANONYMOUS_LABEL not in (record.labels or {}):
                continue
            if not _labelled(record, filters):
                continue
            async with self._locks.hold(record.name):
                if record.name not in self._records or self._users(record.name):
                    continue
                size = await blocking.run(self._drivers[record.driver].usage, record.name, record.options or {})
                await self._destroy(record)
                reclaimed += max(0, size)
                deleted.append(record.name)
        self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return VolumePruneReport(volumes_deleted=deleted or None, space_reclaimed=reclaimed)

    def local_paths(self) -> dict[str, str]:
        """Where the content of each local volume is."""
        driver = self._drivers["local"]
        return {record.name: driver.path(record.name) for record in self._records.values() if record.driver == "local"}

    async def usage(self) -> Sequence[Volume]:
        """All volumes with sizes and numbers of users, for `system df`."""
        result = []
        for record in sorted(self._records.values(), key=lambda r: r.name):
            size = await blocking.run(self._drivers[record.driver].usage, record.name, record.options or {})
            view = self._view(record)
            view.usage_data = VolumeUsage(size=size, ref_count=len(self._users(record.name)))
            result.append(view)
        return result

    # -- for containers

    async def ensure(
        self,
        name: str,
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> VolumeRef:
        """The volume of that name, made if it is not there; without a name a new anonymous one."""
        if not name:
            name, anonymous = secrets.token_hex(32), True
        check_name(name)
        async with self._locks.hold(name):
            record = self._records.get(name)
            if record is None:
                record = await self._make(name, driver or "local", options, labels, anonymous=anonymous)
            elif driver and driver != record.driver:
                raise Conflict(f"create {name}: conflict: volume name must be unique")
        return VolumeRef(name, record.driver, self._drivers[record.driver].path(name))

    async def _make(
        self,
        name: str,
        driver: str,
        options: Mapping[str, str] | None,
        labels: Mapping[str, str] | None,
        *,
        anonymous: bool,
    ) -> VolumeRecord:
        implementation = self._drivers.get(driver)
        if implementation is None:
            text = f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found'
            raise NotFound(text)
        marks = dict(labels or {}) | ({ANONYMOUS_LABEL: ""} if anonymous else {})
        record = VolumeRecord(
            name=name,
            driver=driver,
            created=_now(),
            labels=marks or None,
            options=dict(options) if options else None,
        )
        try:
            implementation.create(name, record.options or {})  # two mkdirs: less than a thread hop
        except InvalidArgument as error:
            raise InvalidArgument(f"create {name}: {error.message}", hint=error.hint) from error
        self._store(record)
        self._events.publish("volume", "create", name, {"driver": driver})
        return record

    async def mount(self, name: str, cid: str, *, destination: str, read_only: bool) -> str:
        """A container starts with the volume; returns the directory of its content."""
        async with self._locks.hold(name):
            record = self._get(name)
            if record.options:
                path = await blocking.run(self._drivers[record.driver].mount, name, record.options)
            else:
                path = self._drivers[record.driver].path(name)
            self._active.setdefault(name, set()).add(cid)
        attributes = {
            "container": cid,
            "destination": destination,
            "driver": record.driver,
            "propagation": "",
            "read/write": "false" if read_only else "true",
        }
        self._events.publish("volume", "mount", name, attributes)
        return path

    def adopt(self, name: str, cid: str) -> None:
        """After a restart of the daemon: a running container has the volume mounted."""
        if name in self._records:
            self._active.setdefault(name, set()).add(cid)

    async def release(self, name: str, cid: str) -> None:
        """The container ended."""
        async with self._locks.hold(name):
            record = self._records.get(name)
            users = self._active.get(name, set())
            users.discard(cid)
            if not users:
                self._active.pop(name, None)
            if record is None:
                return
            if record.options and not users:
                await blocking.run(self._drivers[record.driver].unmount, name, record.options)
        self._events.publish("volume", "unmount", name, {"container": cid, "driver": record.driver})

    # -- inside

    def _get(self, name: str) -> VolumeRecord:
        record = self._records.get(name)
        if record is None:
            raise VolumeNotFound(f"get {name}: no such volume")
        return record

    def _users(self, name: str) -> Sequence[str]:
        known = list(self.users.volume_users(name)) if self.users is not None else []
        return known or sorted(self._active.get(name, ()))

    async def _destroy(self, record: VolumeRecord) -> None:
        await blocking.run(self._drivers[record.driver].remove, record.name, record.options or {})
        del self._records[record.name]
        self._table.delete(record.name)
        self._active.pop(record.name, None)
        self._events.publish("volume", "destroy", record.name, {"driver": record.driver})

    def _view(self, record: VolumeRecord) -> Volume:
        driver = self._drivers[record.driver]
        return Volume(
            name=record.name,
            driver=record.driver,
            created_at=record.created,
            labels=record.labels,
            options=record.options,
            mountpoint=driver.path(record.name),
            scope=driver.scope,
        )

    def _matches(self, record: VolumeRecord, filters: Mapping[str, Sequence[str]]) -> bool:
        drivers, names, dangling = (filters.get(key) for key in ("driver", "name", "dangling"))
        if drivers and record.driver not in drivers:
            return False
        if names and not any(_name_matches(pattern, record.name) for pattern in names):
            return False
        if dangling and _flag(dangling, "dangling") == bool(self._users(record.name)):
            return False
        return _labelled(record, filters)


def check_name(name: str) -> None:
    """Raises InvalidArgument with Docker's texts."""
    if len(name) == 1:
        raise InvalidArgument("volume name is too short, names should be at least two alphanumeric characters")
    if not _NAME.match(name) or len(name) > _NAME_LIMIT:
        shown = name if name.isprintable() and len(name) <= _NAME_LIMIT else repr(name[:64])
        raise InvalidArgument(
            f'create {shown}: "{shown}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def _now() -> str:
    return rfc3339_nano(time.time_ns() // 10**9 * 10**9)


def _flag(values: Sequence[str], name: str) -> bool:
    if not values:
        return False
    if len(values) == 1 and values[0].lower() in _TRUE:
        return True
    if len(values) == 1 and values[0].lower() in _FALSE:
        return False
    raise InvalidArgument(f"invalid filter '{name}={list(values)}'")


def _name_matches(pattern: str, name: str) -> bool:
    """Docker takes a regular expression; plain text is searched as such."""
    if pattern in name:
        return True
    try:
        return len(pattern) <= _NAME_LIMIT and re.search(pattern, name) is not None
    except re.error:
        return False


def _labelled(record: VolumeRecord, filters: Mapping[str, Sequence[str]]) -> bool:
    labels = record.labels or {}

    def has(wanted: str) -> bool:
        name, equals, value = wanted.partition("=")
        return name in labels and (not equals or labels[name] == value)

    return all(has(w) for w in filters.get("label", ())) and not any(has(w) for w in filters.get("label!", ()))
