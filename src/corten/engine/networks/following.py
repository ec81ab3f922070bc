"""What networks learn of containers by events: their names, and their health, which decides who is named. Daemon."""

from __future__ import annotations

from corten.engine.events import Event
from corten.engine.networks.endpoints import Endpoints
from corten.network.dns.directory import NameDirectory

_HEALTH = "health_status: "


def follow_containers(names: NameDirectory, endpoints: Endpoints, event: Event) -> None:
    """A listener of the event bus: quick, and raises nothing."""
    if event.kind != "container":
        return
    if event.action.startswith(_HEALTH):
        names.set_health(event.actor, event.action.removeprefix(_HEALTH))
    elif event.action == "rename":
        endpoints.rename(event.actor, event.attributes["name"])
