"""moby.buildkit.v1.frontend.LLBBridge: what a client that leads its build asks of the daemon. Daemon's loop.

Each call names its build in the metadata. Only Dockerfiles are built: raw graphs, and what works on them, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from corten.build.buildkit import worker
from corten.build.buildkit.frontend import FRONTEND, Frontend
from corten.build.buildkit.jobs import BuildJob, Jobs
from corten.build.buildkit.messages import gateway
from corten.build.buildkit.messages.types import Nothing, Platform
from corten.build.buildkit.reading import ResultFiles
from corten.build.buildkit.status_messages import warning_of
from corten.lib.grpc.headers import Metadata
from corten.lib.grpc.server import Handler, unary
from corten.lib.grpc.status import Code, GrpcError

_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
_BUILD = "buildkit-controlapi-buildid"
_IMAGE = "docker-image://"
_PULL = "pull"


class Gateway:
    """One a daemon."""

    def __init__(self, *, jobs: Jobs, frontend: Frontend, files: ResultFiles, worker_record: worker.WorkerNow) -> None:
        self._files = files
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
            f"{_BRIDGE}ReadFile": unary(gateway.ReadFileRequest, self._read_file),
            f"{_BRIDGE}ReadDir": unary(gateway.ReadDirRequest, self._read_dir),
            f"{_BRIDGE}StatFile": unary(gateway.StatFileRequest, self._stat_file),
            f"{_BRIDGE}ResolveImageConfig": unary(gateway.ImageConfigRequest, self._image_config),
            f"{_BRIDGE}ResolveSourceMeta": unary(gateway.SourceMetaRequest, self._source_meta),
        }

    async def _job(self, metadata: Metadata) -> BuildJob:
        return await self._jobs.get(metadata.first(_BUILD))

    async def _ping(self, request: Nothing, metadata: Metadata) -> gateway.PingResponse:  # noqa: ARG002
        await self._job(metadata)
        frontend, llb = worker.caps()
        return gateway.PingResponse(frontend_api_caps=frontend, llb_caps=llb, workers=[await self._worker()])

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
        job.board.warn(warning_of(request))
        return Nothing()

    # -- files of results

    async def _read_file(self, request: gateway.ReadFileRequest, metadata: Metadata) -> gateway.ReadFileResponse:
        job = await self._job(metadata)
        part = (request.range.offset, request.range.length) if request.range is not None else None
        return gateway.ReadFileResponse(data=await self._files.read(job, request.ref, request.path, part))

    async def _read_dir(self, request: gateway.ReadDirRequest, metadata: Metadata) -> gateway.ReadDirResponse:
        job = await self._job(metadata)
        return gateway.ReadDirResponse(entries=await self._files.list(job, request.ref, request.path, request.pattern))

    async def _stat_file(self, request: gateway.StatFileRequest, metadata: Metadata) -> gateway.StatFileResponse:
        job = await self._job(metadata)
        return gateway.StatFileResponse(stat=await self._files.stat(job, request.ref, request.path))

    # -- images

    async def _image_config(
        self, request: gateway.ImageConfigRequest, metadata: Metadata
    ) -> gateway.ImageConfigResponse:
        job = await self._job(metadata)
        digest, config = await self._frontend.image(
            job, request.ref, _platform(request.platform), pull=request.resolve_mode == _PULL
        )
        return gateway.ImageConfigResponse(digest=digest, config=config, ref=request.ref)

    async def _source_meta(self, request: gateway.SourceMetaRequest, metadata: Metadata) -> gateway.SourceMetaResponse:
        job = await self._job(metadata)
        source = request.source
        name = source.identifier.removeprefix(_IMAGE) if source is not None else ""
        if source is None or not source.identifier.startswith(_IMAGE):
            raise GrpcError(Code.UNIMPLEMENTED, "only images are sources that this builder tells of")
        digest, config = await self._frontend.image(
            job, name, _platform(request.platform), pull=request.resolve_mode == _PULL
        )
        return gateway.SourceMetaResponse(source=source, image=gateway.SourceImage(digest=digest, config=config))


def _platform(platform: Platform | None) -> str:
    """As `--platform` has it; empty for the builder's own."""
    if platform is None:
        return ""
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)
