"""moby.buildkit.v1.Control: builds, their status, and what is known of the builder. Daemon's loop.

A client builds by way of the gateway (gateway.py) and ends its part with Return; or it names the frontend here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

from corten.build.buildkit import cache_view, worker
from corten.build.buildkit.exporting import Exporting
from corten.build.buildkit.frontend import FRONTEND, Frontend
from corten.build.buildkit.history.calls import now_header
from corten.build.buildkit.history.history import History
from corten.build.buildkit.history.recording import Recorder, messages_of
from corten.build.buildkit.jobs import BuildJob, Jobs
from corten.build.buildkit.messages import control
from corten.build.buildkit.messages.gateway import Result
from corten.build.buildkit.messages.history import Record
from corten.build.buildkit.messages.types import Nothing
from corten.build.buildkit.status_messages import status_response
from corten.build.cache_upkeep import CacheUpkeep
from corten.lib.grpc.headers import Metadata
from corten.lib.grpc.server import Call, Handler, streaming, unary
from corten.lib.grpc.status import Code, GrpcError

_CONTROL = "/moby.buildkit.v1.Control/"


class Control:
    """One a daemon."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        frontend: Frontend,
        exporting: Exporting,
        upkeep: CacheUpkeep,
        worker_record: worker.WorkerNow,
        history: History,
        recorder: Recorder,
    ) -> None:
        self._history = history
        self._recorder = recorder
        self._jobs = jobs
        self._frontend = frontend
        self._exporting = exporting
        self._upkeep = upkeep
        self._worker = worker_record

    def methods(self) -> Mapping[str, Handler]:
        """By their paths."""
        return {
            f"{_CONTROL}Solve": unary(control.SolveRequest, self._solve),
            f"{_CONTROL}Status": self._status,
            f"{_CONTROL}ListWorkers": unary(control.ListWorkersRequest, self._list_workers),
            f"{_CONTROL}Info": unary(Nothing, self._info),
            f"{_CONTROL}DiskUsage": unary(control.DiskUsageRequest, self._disk_usage),
            f"{_CONTROL}Prune": streaming(control.PruneRequest, self._prune),
            "/grpc.health.v1.Health/Check": unary(control.HealthRequest, self._health),
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export": unary(Nothing, self._trace),
        }

    async def _solve(self, request: control.SolveRequest, metadata: Metadata) -> control.SolveResponse:  # noqa: ARG002
        if request.definition:
            raise GrpcError(Code.UNIMPLEMENTED, "raw LLB definitions are not supported by this builder")
        if request.source_policy:  # who says what may be built from must not believe that it was obeyed
            raise GrpcError(Code.UNIMPLEMENTED, "source policies are not supported by this builder")
        async with self._recorder.recording(request) as recording, self._jobs.begun(request) as job:
            recording.begun(job)
            result = await self._direct(job) if request.frontend else await self._of_gateway(job)
            answers = await self._exporting.export(job, result)
            await recording.done(job, answers)
            return control.SolveResponse(exporter_response=answers)

    async def _direct(self, job: BuildJob) -> Result:
        if job.request.frontend != FRONTEND:
            raise GrpcError(
                Code.UNIMPLEMENTED,
                f'the frontend "{job.request.frontend[:64]}" is not supported by this builder: only {FRONTEND} is',
            )
        return await self._frontend.solve(job, job.request.frontend_attrs, job.request.inputs)

    @staticmethod
    async def _of_gateway(job: BuildJob) -> Result:
        """What the client returns."""
        returned = await asyncio.shield(job.returned)
        if returned.error is not None:
            number = returned.error.code
            code = Code(number) if number in Code._value2member_map_ else Code.UNKNOWN
            raise GrpcError(code, returned.error.message, returned.error.details)
        return returned.result or Result()

    async def _status(self, call: Call) -> None:
        request = await call.receive(control.StatusRequest)
        if request is None:
            raise GrpcError(Code.INTERNAL, "the call has no message")
        call.begin(now_header())
        record = None if self._jobs.is_known(request.ref) else await self._history.find(request.ref)
        if record is not None:
            await self._told_again(record, call)
            return
        job = await self._jobs.get(request.ref)
        async with aclosing(job.board.messages()) as messages:
            async for status in messages:
                await call.send(status_response(status))

    async def _told_again(self, record: Record, call: Call) -> None:
        """What a build that is over has told."""
        if record.logs is not None:
            for message in messages_of(await self._history.read(record.logs.digest, 0, record.logs.size)):
                await call.send_bytes(message)

    async def _list_workers(
        self,
        request: control.ListWorkersRequest,  # noqa: ARG002
        metadata: Metadata,  # noqa: ARG002
    ) -> control.ListWorkersResponse:
        return control.ListWorkersResponse(record=[await self._worker()])

    async def _info(self, request: Nothing, metadata: Metadata) -> control.InfoResponse:  # noqa: ARG002
        return control.InfoResponse(version=worker.version())

    async def _disk_usage(
        self,
        request: control.DiskUsageRequest,
        metadata: Metadata,  # noqa: ARG002
    ) -> control.DiskUsageResponse:
        records = cache_view.usage(self._upkeep.usage())
        return control.DiskUsageResponse(record=cache_view.selected(records, request.filter))

    async def _prune(
        self,
        request: control.PruneRequest,
        metadata: Metadata,  # noqa: ARG002
    ) -> AsyncIterator[control.UsageRecord]:
        before = {record.id: record for record in cache_view.usage(self._upkeep.usage())}
        await self._history.collect()
        report = await self._upkeep.prune(cache_view.wish(request, time.time_ns()))
        told = 0
        for key in report.caches_deleted:
            record = before.get(key)
            if record is not None:
                told += record.size
                yield record
        rest = report.space_reclaimed - told
        if rest > 0:  # cache mounts, which are no records
            yield control.UsageRecord(id="mounts", description="cache mounts", size=rest, record_type="exec.cachemount")

    async def _health(self, request: control.HealthRequest, metadata: Metadata) -> control.HealthResponse:  # noqa: ARG002
        return control.HealthResponse()

    async def _trace(self, request: Nothing, metadata: Metadata) -> Nothing:  # noqa: ARG002
        return Nothing()
