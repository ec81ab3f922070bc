"""All containers, in memory and on disk: lookups by id, prefix and name; one row a record. Daemon, on the loop."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

from corten.engine.containers.collaborators import Table
from corten.engine.containers.live import Container
from corten.engine.containers.record import ContainerRecord
from corten.errors import AlreadyExists, Conflict, InvalidArgument, NotFound
from corten.lib import codec
from corten.spec.docker import messages

_LOG = logging.getLogger("corten.containers")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_HEX = re.compile(r"[0-9a-f]{1,64}\Z")
_NAME_LIMIT = 253


class ContainerNotFound(NotFound):
    """No container has this id or name."""

    code = "container-not-found"


class NameInUse(AlreadyExists):
    """Another container has the name."""

    code = "container-name-in-use"


def check_name(name: str) -> str:
    """A name as create and rename take it, without the slash. Raises InvalidArgument with Docker's text."""
    bare = name.removeprefix("/")
    if len(bare) > _NAME_LIMIT or not _NAME.match(bare):
        shown = name if name.isprintable() and len(name) <= _NAME_LIMIT else repr(name[:64])
        raise InvalidArgument(messages.INVALID_NAME.format(shown))
    return bare


class Registry:
    """The containers of this engine."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._containers: dict[str, Container] = {}
        self._names: dict[str, str] = {}

    def load(self) -> None:
        """Read all rows; once, at start. A row that cannot be read is reported and left alone."""
        for key, value in self._table.list():
            try:
                record = codec.decode(ContainerRecord, value)
            except InvalidArgument:
                _LOG.exception("record of container %s cannot be read", key)
                continue
            container = Container(record)
            self._containers[record.id] = container
            self._names[record.name] = record.id

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._containers.values()))

    def __len__(self) -> int:
        return len(self._containers)

    def get(self, cid: str) -> Container | None:
        """By its whole id."""
        return self._containers.get(cid)

    def named(self, name: str) -> Container | None:
        """By its whole name."""
        return self._containers.get(self._names.get(name, ""))

    def find(self, reference: str) -> Container:
        """By id, name (with or without slash) or unique id prefix. Raises ContainerNotFound, Conflict."""
        found = self._containers.get(reference) or self.named(reference.removeprefix("/"))
        if found is not None:
            return found
        if not reference:
            raise InvalidArgument("invalid container name or ID: value is empty")
        if _HEX.match(reference):
            matching = [cid for cid in self._containers if cid.startswith(reference)]
            if len(matching) == 1:
                return self._containers[matching[0]]
            if matching:
                raise InvalidArgument(messages.AMBIGUOUS_ID.format(reference))
        raise ContainerNotFound(messages.NO_SUCH_CONTAINER.format(reference))

    def reserve(self, name: str, cid: str) -> None:
        """Take a name ahead of the record. Raises NameInUse with Docker's text."""
        owner = self._names.get(name)
        if owner is not None:
            raise NameInUse(messages.NAME_IN_USE.format(name, owner))
        self._names[name] = cid

    def unreserve(self, name: str, cid: str) -> None:
        """Give a name back that `reserve` took."""
        if self._names.get(name) == cid:
            del self._names[name]

    def add(self, container: Container) -> None:
        """A new container, whose name was reserved: from here on it exists."""
        record = container.record
        self._table.put(record.id, codec.encode(record), record.name)
        self._containers[record.id] = container

    def save(self, container: Container, record: ContainerRecord) -> None:
        """Replace a container's record."""
        if record.name != container.record.name:
            self.reserve(record.name, record.id)
            self.unreserve(container.record.name, record.id)
        container.record = record
        if not container.removed:
            self._table.put(record.id, codec.encode(record), record.name)

    def remember(self, container: Container, record: ContainerRecord) -> None:
        """Replace a record in memory only: the row is about to be deleted."""
        container.record = record

    def drop(self, container: Container) -> None:
        """The container is gone."""
        if container.removed:
            raise Conflict(messages.REMOVAL_IN_PROGRESS.format(container.name))
        container.removed = True
        self._table.delete(container.id)
        self._containers.pop(container.id, None)
        self.unreserve(container.name, container.id)
