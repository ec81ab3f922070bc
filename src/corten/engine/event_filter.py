"""Which events a client of GET /events asked for. Pure; daemon only. Source: moby daemon/events/filter.go's rules."""

from __future__ import annotations

from corten.engine.events import Event
from corten.errors import InvalidArgument

_KNOWN = {
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
}


class EventFilter:
    """All keys must match; of one key's values any. Raises InvalidArgument for unknown keys."""

    def __init__(self, filters: dict[str, list[str]]) -> None:
        for key in filters:
            if key not in _KNOWN:
                raise InvalidArgument(f"invalid filter '{key}'")
        self._filters = {key: values for key, values in filters.items() if values}

    def matches(self, event: Event) -> bool:
        """Whether the client wants this event."""
        return all(self._one(key, values, event) for key, values in self._filters.items())

    def _one(self, key: str, values: list[str], event: Event) -> bool:
        if key == "event":
            # `exec_create` and `health_status` stand for all actions that begin so: their text goes on behind a colon.
            return any(event.action == value or event.action.startswith(f"{value}:") for value in values)
        if key == "type":
            return event.kind in values
        if key == "scope":
            return "local" in values
        if key == "label":
            return all(_label(value, event.attributes) for value in values)
        if key == "image":
            return _image(values, event)
        return event.kind == key and _object(values, event)


def _label(wanted: str, attributes: dict[str, str]) -> bool:
    name, equals, value = wanted.partition("=")
    return name in attributes and (not equals or attributes[name] == value)


def _object(values: list[str], event: Event) -> bool:
    name = event.attributes.get("name", "")
    return any(
        value == event.actor or value == name or (len(value) > 0 and event.actor.startswith(value)) for value in values
    )


def _image(values: list[str], event: Event) -> bool:
    """An image's own events, and those of its containers, by reference with or without tag, or by id."""
    if event.kind == "container":
        names = {event.attributes.get("image", "")}
    elif event.kind == "image":
        names = {event.actor, event.attributes.get("name", "")}
    else:
        return False
    plain = {name if name.startswith("sha256:") else _without_tag(name) for name in names}
    return any(value in names or value in plain for value in values)


def _without_tag(reference: str) -> str:
    head, colon, tail = reference.rpartition(":")
    return head if colon and "/" not in tail else reference
