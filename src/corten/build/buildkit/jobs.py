"""Builds that clients speak of by a name of theirs (`Ref`): several calls, in any order, are about one. Daemon's loop.

A build exists from its Control.Solve to the end of that; calls about it that come before wait for a moment, and those
that want its status find it for a moment afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

from corten.build.buildkit.messages.control import SolveRequest
from corten.build.buildkit.messages.gateway import ReturnRequest
from corten.build.buildkit.solving import Solved, Solving
from corten.build.status.board import StatusBoard
from corten.lib.grpc.status import Code, GrpcError

_WAIT_S = 5.0
_KEPT_S = 5.0
_MANY = 256
_WAITING = 1024
_REF_LIMIT = 256
_SOLVES = 64


@dataclass(slots=True, kw_only=True, eq=False)
class BuildJob:
    """One build. `solves` are those of its frontends, by the result's name; `returned` is what the client says in the
    end; what is on `at_end` is done when it is over. `exported` and `answers` are the solve that
    was returned, and what each exporter has answered."""

    request: SolveRequest
    board: StatusBoard = field(default_factory=StatusBoard)
    solves: dict[str, Solving] = field(default_factory=dict)
    returned: asyncio.Future[ReturnRequest] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    at_end: ExitStack = field(default_factory=ExitStack)
    exported: Solved | None = None
    answers: Sequence[Mapping[str, str]] = ()
    is_over: bool = False

    def add(self, solving: Solving) -> str:
        """Another solve; returns its name. Raises GrpcError when there are too many, or the build is over."""
        if self.is_over:
            raise GrpcError(Code.CANCELLED, "the build is over")
        if len(self.solves) >= _SOLVES:
            raise GrpcError(Code.RESOURCE_EXHAUSTED, "the build has solved too much")
        name = f"result{len(self.solves)}"
        self.solves[name] = solving
        return name

    async def end(self) -> None:
        """Let all results go, and end what still runs."""
        self.is_over = True
        self.at_end.close()
        if not self.returned.done():
            self.returned.cancel()
        for solving in list(self.solves.values()):
            await solving.close()
        self.board.end()


class Jobs:
    """Those that there are; one a daemon."""

    def __init__(self) -> None:
        self._jobs: dict[str, BuildJob] = {}
        self._waiting = 0
        self._changed: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def begun(self, request: SolveRequest) -> AsyncIterator[BuildJob]:
        """A build, as long as the block. Raises GrpcError."""
        ref = request.ref
        if not ref or len(ref) > _REF_LIMIT:
            raise GrpcError(Code.INVALID_ARGUMENT, "a build needs a ref of at most 256 characters")
        if ref in self._jobs:
            raise GrpcError(Code.ALREADY_EXISTS, f"job ID {ref[:64]} exists")
        if len(self._jobs) >= _MANY:
            raise GrpcError(Code.RESOURCE_EXHAUSTED, "there are too many builds")
        job = self._jobs[ref] = BuildJob(request=request)
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        try:
            yield job
        finally:
            try:
                await job.end()
            finally:
                asyncio.get_running_loop().call_later(_KEPT_S, self._forget, ref, job)

    def _forget(self, ref: str, job: BuildJob) -> None:
        if self._jobs.get(ref) is job:
            del self._jobs[ref]

    def is_known(self, ref: str) -> bool:
        """Whether there is such a build, or was a moment ago."""
        return ref in self._jobs

    async def get(self, ref: str) -> BuildJob:
        """The build of this name, waited for a moment. Raises GrpcError."""
        if self._waiting >= _WAITING:
            raise GrpcError(Code.RESOURCE_EXHAUSTED, "too many calls wait for builds")
        self._waiting += 1
        try:
            async with asyncio.timeout(_WAIT_S):
                while ref not in self._jobs:
                    if self._changed is None or self._changed.done():
                        self._changed = asyncio.get_running_loop().create_future()
                    await asyncio.shield(self._changed)
        except TimeoutError:
            raise GrpcError(Code.NOT_FOUND, f"no such job {ref[:64]}") from None
        finally:
            self._waiting -= 1
        return self._jobs[ref]
