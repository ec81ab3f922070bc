"""A build's status as messages, and its errors as gRPC tells them. Pure; daemon.

Source: BuildKit's solver/errdefs and its api/services/control (StatusResponse); the types' names are BuildKit's.
"""

from __future__ import annotations

import base64
from typing import Any

from corten.build.buildkit.messages import control
from corten.build.buildkit.messages.types import Position, Range, SourceInfo, timestamp
from corten.build.diagnosis import FailedStep
from corten.build.ops.run import StepFailed
from corten.build.status_face import Failure
from corten.lib import codec
from corten.lib.grpc.status import Code, Detail, GrpcError
from corten.spec.docker import lint
from corten.spec.docker.solve_status import SolveStatus, VertexWarning

_DETAIL = "github.com/moby/buildkit/{}+json"
_EXCERPT_LIMIT = 24 << 10  # bytes of a Dockerfile that go with an error, which has to fit into headers


def status_response(status: SolveStatus) -> control.StatusResponse:
    """What has changed, as a message."""
    return control.StatusResponse(
        vertexes=[
            control.Vertex(
                digest=vertex.digest,
                inputs=vertex.inputs,
                name=vertex.name,
                cached=vertex.cached,
                started=timestamp(vertex.started),
                completed=timestamp(vertex.completed),
                error=vertex.error,
            )
            for vertex in status.vertexes
        ],
        statuses=[
            control.VertexStatus(
                id=line.id,
                vertex=line.vertex,
                name=line.name,
                current=line.current,
                total=line.total,
                timestamp=timestamp(line.timestamp),
                started=timestamp(line.started),
                completed=timestamp(line.completed),
            )
            for line in status.statuses
        ],
        logs=[
            control.VertexLog(vertex=log.vertex, timestamp=timestamp(log.timestamp), stream=log.stream, msg=log.data)
            for log in status.logs
        ],
        warnings=[_warning(warning) for warning in status.warnings],
    )


def _warning(warning: VertexWarning) -> control.VertexWarning:
    source = warning.source_info
    return control.VertexWarning(
        vertex=warning.vertex,
        level=warning.level,
        short=warning.short,
        detail=warning.detail,
        url=warning.url,
        info=None
        if source is None
        else SourceInfo(filename=source.filename, data=source.data, language=source.language),
        ranges=[
            Range(start=Position(line=lines.start.line), end=Position(line=lines.end.line)) for lines in warning.range
        ],
    )


def failure(error: Exception, told: Failure, source: lint.SourceFile | None) -> GrpcError:
    """Why a build failed, with what a client needs to show the lines and the step."""
    if isinstance(error, GrpcError):
        return error
    details: list[Detail] = []
    if source is not None and told.lines[0]:
        details.append(_detail("errdefs.Source", _excerpt(source, told.lines)))
    reason = error.reason if isinstance(error, FailedStep) else error
    if isinstance(reason, StepFailed):
        details.append(_detail("gatewayapi.ExitMessage", {"Code": reason.exit_code}))
    if told.digest:
        details.append(_detail("errdefs.Vertex", {"digest": told.digest}))
    details.append(_detail("errdefs.Solve", {}))
    return GrpcError(Code.UNKNOWN, told.text, details)


def _excerpt(source: lint.SourceFile, lines: tuple[int, int]) -> dict[str, Any]:
    """The Dockerfile, as far as there is room: lines before those that are meant are emptied in a large one."""
    data = source.data
    if len(data) > _EXCERPT_LIMIT:
        around = data.splitlines(keepends=True)
        first = max(0, lines[0] - 10)
        data = b"\n" * first + b"".join(around[first : lines[1] + 10])[:_EXCERPT_LIMIT]
    return {
        "info": {
            "filename": source.filename,
            "data": base64.b64encode(data[: 2 * _EXCERPT_LIMIT]).decode(),
            "language": source.language,
        },
        "ranges": [{"start": {"line": lines[0]}, "end": {"line": lines[1]}}],
    }


def _detail(name: str, value: dict[str, Any]) -> Detail:
    return Detail(type_url=_DETAIL.format(name), value=codec.encode(value))
