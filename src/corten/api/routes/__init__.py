"""The table of all route files. An endpoint is one decorated function in one of them; a new file is one line here.

Modules are named below `corten.api.routes`. `tests/arch` fails on a file that the table does not name.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from corten.api.routing import Route

MODULES = (
    "auth",
    "build",
    "buildkit",
    "commit",
    "containers.archive",
    "containers.attach",
    "containers.changes",
    "containers.create",
    "containers.exec",
    "containers.export",
    "containers.inspect",
    "containers.list",
    "containers.logs",
    "containers.pause",
    "containers.remove",
    "containers.rename",
    "containers.start",
    "containers.stats",
    "containers.stop",
    "containers.top",
    "containers.update",
    "containers.wait",
    "corten.build",
    "corten.fsck",
    "corten.images",
    "corten.networks",
    "corten.platforms",
    "corten.services",
    "distribution",
    "events",
    "exec.inspect",
    "exec.start",
    "images.archive",
    "images.create",
    "images.inspect",
    "images.list",
    "images.push",
    "images.remove",
    "images.search",
    "images.tag",
    "networks.connect",
    "networks.create",
    "networks.disconnect",
    "networks.inspect",
    "networks.list",
    "networks.prune",
    "networks.remove",
    "ping",
    "plugins",
    "swarm",
    "system",
    "volumes",
)


def routes_of(module: ModuleType) -> list[Route]:
    """The routes that the functions of a module were marked with."""
    return [
        entry
        for value in vars(module).values()
        if callable(value) and getattr(value, "__module__", "") == module.__name__
        for entry in getattr(value, "routes", ())
    ]


def collect() -> list[Route]:
    """Every route of the API."""
    return [entry for name in MODULES for entry in routes_of(import_module(f"{__name__}.{name}"))]
