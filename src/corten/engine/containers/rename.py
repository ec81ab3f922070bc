"""Rename a container. Daemon."""

from __future__ import annotations

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.registry import Registry, check_name
from corten.engine.events import Events
from corten.errors import InvalidArgument
from corten.spec.docker import messages


class Renamer:
    """The use case of POST /containers/{id}/rename."""

    def __init__(self, *, registry: Registry, events: Events) -> None:
        self._registry = registry
        self._events = events

    async def rename(self, reference: str, name: str) -> None:
        """Raises NotFound, InvalidArgument, Conflict (name in use)."""
        if not name:
            raise InvalidArgument(messages.EMPTY_NAME)
        container = self._registry.find(reference)
        new = check_name(name)
        async with container.lock:
            old = container.name
            if new == old:
                raise InvalidArgument(messages.SAME_NAME)
            self._registry.save(container, msgspec.structs.replace(container.record, name=new))
        announce(self._events, container.record, "rename", oldName=f"/{old}")
