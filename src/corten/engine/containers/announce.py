"""Container events with the attributes that Docker gives them: image, name, labels, and the action's own. Daemon."""

from __future__ import annotations

from corten.engine.containers.record import ContainerRecord
from corten.engine.events import Events


def attributes(record: ContainerRecord, **extra: str) -> dict[str, str]:
    """The actor's attributes."""
    return {**record.labels, "image": record.config.image, "name": record.name, **extra}


def announce(events: Events, record: ContainerRecord, action: str, **extra: str) -> None:
    """Publish one container event."""
    events.publish("container", action, record.id, attributes(record, **extra))
