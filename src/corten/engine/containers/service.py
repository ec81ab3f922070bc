"""The containers of this engine: one facade over the use cases, each of which is a file of its own. Daemon.

Routes and other services know this class; it decides nothing.
"""

from __future__ import annotations

import asyncio

import msgspec

from corten.engine.containers.create import Creator
from corten.engine.containers.list import Lister
from corten.engine.containers.live import Container, Ended
from corten.engine.containers.prune import Pruner
from corten.engine.containers.registry import Registry
from corten.engine.containers.remove import Remover
from corten.engine.containers.rename import Renamer
from corten.engine.containers.start import Starter
from corten.engine.containers.stop import Stopper
from corten.engine.containers.update import Updater
from corten.engine.containers.wait import Waiter


class ContainerService:
    """Create, start, stop, kill, restart, pause, rename, update, wait, list, inspect, remove, prune."""

    def __init__(
        self,
        *,
        registry: Registry,
        creator: Creator,
        starter: Starter,
        stopper: Stopper,
        remover: Remover,
        lister: Lister,
        updater: Updater,
        renamer: Renamer,
        pruner: Pruner,
    ) -> None:
        self.registry = registry
        self._waiter = Waiter(registry)
        self.create = creator.create
        self.start = starter.start
        self.stop = stopper.stop
        self.shut_down = stopper.shut_down
        self.kill = stopper.kill
        self.restart = stopper.restart
        self.pause = stopper.pause
        self.unpause = stopper.unpause
        self.remove = remover.remove
        self.list_ = lister.list_
        self.inspect = lister.inspect
        self.update = updater.update
        self.rename = renamer.rename
        self.prune = pruner.prune

    def find(self, reference: str) -> Container:
        """By id, name or unique id prefix. Raises NotFound `No such container: x`."""
        return self.registry.find(reference)

    def disown(self, reference: str) -> None:
        """Let a container that belongs to the daemon's work be a client's from now on. Raises NotFound."""
        container = self.registry.find(reference)
        self.registry.save(container, msgspec.structs.replace(container.record, owner=""))

    def wait(self, reference: str, condition: str) -> asyncio.Future[Ended]:
        """The exit code, awaited from now on. Raises NotFound, InvalidArgument."""
        return self._waiter.wait(reference, condition)
