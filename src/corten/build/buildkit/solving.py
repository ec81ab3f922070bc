"""One Dockerfile being built for a buildx client, and its result for as long as the client may want it. Daemon's loop.

The build runs in a task of its own, which ends with its job: the result's lease is held until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import TypeVar

from corten.build.buildkit.failures import failure
from corten.build.buildkit.transfers import ToldSource, Transfers
from corten.build.service import BuildService, Job, Result
from corten.build.sources.source import BuildSource
from corten.build.status.face import StatusFace
from corten.engine.images.progress import Progress, stream
from corten.engine.images.settled import settled
from corten.errors import CortenError
from corten.lib.grpc.status import Code, GrpcError

T = TypeVar("T")
Told = Callable[[str, int], None]
Bring = Callable[[Progress, Told], AbstractAsyncContextManager[BuildSource]]
Work = Callable[[Job, Progress], AbstractAsyncContextManager[T]]
Solved = tuple[Job, Result, Progress]


class Solving:
    """One solve. `job` has the options, the offers and the face; its source is what `bring` opens, which tells how many
    bytes of what have come."""

    def __init__(
        self, service: BuildService, face: StatusFace, job: Callable[[BuildSource], Job], bring: Bring
    ) -> None:
        self._service = service
        self._face = face
        self._job = job
        self._bring = bring
        self._task: asyncio.Task[None] | None = None
        self._released = asyncio.Event()
        self.result: Solved | None = None

    async def build(self) -> Result:
        """Build; what it gave stays until `close`. Cancelling this ends the build. Raises GrpcError."""

        @asynccontextmanager
        async def work(job: Job, progress: Progress) -> AsyncIterator[Result]:
            async with self._service.solved(job, progress) as result:
                self.result = job, result, progress
                try:
                    yield result
                finally:
                    self.result = None

        return await self._outcome(work)

    async def call(self, answer: Callable[[Job], Awaitable[T]]) -> T:
        """What `answer` says of the Dockerfile, without a build. Raises GrpcError."""

        @asynccontextmanager
        async def work(job: Job, progress: Progress) -> AsyncIterator[T]:  # noqa: ARG001 - the form of a work
            yield await answer(job)

        return await self._outcome(work)

    async def close(self) -> None:
        """End it, and let the result go. Again waits, too: several calls of a client that goes away end it at once, and
        what it does in its end must not be cut short."""
        is_first = not self._released.is_set()
        self._released.set()
        if self._task is not None:
            if is_first and self.result is None:
                self._task.cancel()
            await settled([self._task])

    async def _outcome(self, work: Work[T]) -> T:
        ready: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(self._run(work, ready))
        self._task.add_done_callback(lambda _: ready.cancel())  # when it was ended before it began
        try:
            return await asyncio.shield(ready)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _run(self, work: Work[T], ready: asyncio.Future[T]) -> None:
        """The task. What goes wrong before the result stands is the outcome."""

        async def build(progress: Progress) -> None:
            transfers = Transfers(self._face)
            async with self._bring(progress, transfers.told) as source:
                job = self._job(ToldSource(source, self._face, transfers))
                async with work(job, progress) as result:
                    if not ready.done():
                        ready.set_result(result)
                    await self._released.wait()

        try:
            async with aclosing(stream(build)) as messages:
                async for _message in messages:
                    pass  # the face tells
        except asyncio.CancelledError:
            self._face.cancelled()
            if not ready.done():
                ready.cancel()
            raise
        except Exception as error:
            told = self._failed(error)
            if not ready.done():
                ready.set_exception(told)
                ready.exception()  # whoever asked may be gone
            if not isinstance(error, CortenError | OSError):
                raise

    def _failed(self, error: Exception) -> GrpcError:
        told = self._face.failed(error)
        if not isinstance(error, CortenError | OSError):
            return GrpcError(Code.INTERNAL, "an internal error; the daemon's log has more")
        return failure(error, told, self._face.source)
