"""moby.buildkit.v1.frontend.LLBBridge: what a client that leads its build asks of the daemon. Daemon's loop.

Each call names its build in the metadata. Only Dockerfiles are built: raw graphs, and what works on them, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from corten.build.buildkit import worker
from corten.build.buildkit.frontend import FRONTEND, Frontend
from corten.build.buildkit.jobs import BuildJob, Jobs
from corten.build.buildkit.messages import control, gateway
from corten.build.buildkit.messages.types import Nothing
from corten.lib.grpc.headers import Metadata
from corten.lib.grpc.server import Handler, unary
from corten.lib.grpc.status import Code, GrpcError
from corten.spec.docker.lint import Position, Range
from corten.spec.docker.solve_status import SourceInfo, VertexWarning

_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD = "buildkit-controlapi-buildid"


class Gateway:
    """One a daemon."""

    def __init__(self, *, jobs: Jobs, frontend: Frontend, worker_record: control.WorkerRecord) -> None:
        self._jobs = jobs
        self._frontend = frontend
        self._worker = worker_record

    def methods(self) -> Mapping[str, Handler]:
        """By their paths."""
        return {
            f"{_BRIDGE}Ping": unary(Nothing, self._ping),
            f"{_BRIDGE}Solve": unary(gateway.SolveRequest, self._solve),
            f"{_BRIDGE}Return": unary(gateway.ReturnRequest, self._return),
            f"{_BRIDGE}Evaluate": unary(gateway.RefRequest, self._evaluate),
            f"{_BRIDGE}Warn": unary(gateway.WarnRequest, self._warn),
        }

    async def _job(self, metadata: Metadata) -> BuildJob:
        return await self._jobs.get(metadata.first(_BUILD))

    async def _ping(self, request: Nothing, metadata: Metadata) -> gateway.PingResponse:  # noqa: ARG002
        await self._job(metadata)
        frontend, llb = worker.caps()
        return gateway.PingResponse(frontend_api_caps=frontend, llb_caps=llb, workers=[self._worker])

    async def _solve(self, request: gateway.SolveRequest, metadata: Metadata) -> gateway.SolveResponse:
        job = await self._job(metadata)
        if request.definition or not request.frontend:
            raise GrpcError(Code.UNIMPLEMENTED, "raw LLB definitions are not supported by this builder")
        if request.frontend != FRONTEND:
            raise GrpcError(
                Code.UNIMPLEMENTED,
                f'the frontend "{request.frontend[:64]}" is not supported by this builder: only {FRONTEND} is',
            )
        solved = await self._frontend.solve(job, request.frontend_opt, request.inputs)
        return gateway.SolveResponse(result=solved)

    async def _return(self, request: gateway.ReturnRequest, metadata: Metadata) -> Nothing:
        job = await self._job(metadata)
        if job.returned.done():
            raise GrpcError(Code.FAILED_PRECONDITION, "the build has returned already")
        job.returned.set_result(request)
        return Nothing()

    async def _evaluate(self, request: gateway.RefRequest, metadata: Metadata) -> Nothing:
        """What was solved was built already."""
        job = await self._job(metadata)
        if request.ref.partition("/")[0] not in job.solves:
            raise GrpcError(Code.NOT_FOUND, f"no such ref: {request.ref[:64]}")
        return Nothing()

    async def _warn(self, request: gateway.WarnRequest, metadata: Metadata) -> Nothing:
        job = await self._job(metadata)
        info = request.info
        job.board.warn(
            VertexWarning(
                vertex=request.digest,
                level=request.level,
                short=request.short,
                detail=request.detail,
                url=request.url,
                source_info=None
                if info is None
                else SourceInfo(filename=info.filename, data=info.data, language=info.language),
                range=[
                    Range(start=Position(line=one.start.line), end=Position(line=one.end.line))
                    for one in request.ranges
                    if one.start is not None and one.end is not None
                ],
            )
        )
        return Nothing()
