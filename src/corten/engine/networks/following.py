"""What networks learn of containers by events: names, health, which decides who is named, starts and ends. Daemon."""

from __future__ import annotations

from corten.engine.events import Event
from corten.engine.networks.endpoints import Endpoints
from corten.engine.networks.services import Services

_HEALTH = "health_status: "


def follow_containers(services: Services, endpoints: Endpoints, event: Event) -> None:
    """A listener of the event bus: quick, and raises nothing."""
    if event.kind != "container":
        return
    if event.action.startswith(_HEALTH):
        endpoints.set_health(event.actor, event.action.removeprefix(_HEALTH))
    elif event.action == "rename":
        endpoints.rename(event.actor, event.attributes["name"])
    elif event.action == "start":
        services.started(event.actor)
    elif event.action == "destroy":
        services.left(event.actor)
