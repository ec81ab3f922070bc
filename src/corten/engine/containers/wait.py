"""Wait for a container's end or removal. Daemon.

The waiter is registered before the route answers with its headers: `docker run` starts the container once it has them.
"""

from __future__ import annotations

import asyncio

from corten.engine.containers.live import Container, Ended
from corten.engine.containers.registry import Registry
from corten.engine.containers.status import Status
from corten.errors import InvalidArgument
from corten.spec.docker import messages

NOT_RUNNING, NEXT_EXIT, REMOVED = "not-running", "next-exit", "removed"
_CONDITIONS = ("", NOT_RUNNING, NEXT_EXIT, REMOVED)


class Waiter:
    """The use case of POST /containers/{id}/wait."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def wait(self, reference: str, condition: str) -> asyncio.Future[Ended]:
        """A future of the exit code, registered now. Raises NotFound, InvalidArgument."""
        if condition not in _CONDITIONS:
            raise InvalidArgument(messages.INVALID_CONDITION.format(condition[:64]))
        return register(self._registry.find(reference), condition or NOT_RUNNING)


def register(container: Container, condition: str) -> asyncio.Future[Ended]:
    """A waiter of a container; already done when there is nothing to wait for."""
    future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
    status = container.record.status
    if condition == REMOVED:
        container.removal_waiters.append(future)
        future.add_done_callback(lambda done: _forget(container.removal_waiters, done))
    elif condition == NOT_RUNNING and (not status.status.is_running or status.status is Status.RESTARTING):
        future.set_result(Ended(code=status.exit_code))
    else:
        container.exit_waiters.append(future)
        future.add_done_callback(lambda done: _forget(container.exit_waiters, done))
    return future


def _forget(waiters: list[asyncio.Future[Ended]], done: asyncio.Future[Ended]) -> None:
    if done in waiters:
        waiters.remove(done)
