"""A build's status as messages; of warnings the way back, too, for clients may add their own. Pure; daemon.

Source: BuildKit's api/services/control (StatusResponse), frontend/gateway/pb (WarnRequest).
"""

from __future__ import annotations

from corten.build.buildkit.messages import control
from corten.build.buildkit.messages.gateway import WarnRequest
from corten.build.buildkit.messages.types import Position, Range, SourceInfo, timestamp
from corten.spec.docker import lint, solve_status
from corten.spec.docker.solve_status import SolveStatus, VertexWarning


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


def warning_of(said: WarnRequest) -> VertexWarning:
    """A client's own warning, as one of the status."""
    source = said.info
    return VertexWarning(
        vertex=said.digest,
        level=said.level,
        short=said.short,
        detail=said.detail,
        url=said.url,
        source_info=None
        if source is None
        else solve_status.SourceInfo(filename=source.filename, data=source.data, language=source.language),
        range=[
            lint.Range(start=lint.Position(line=lines.start.line), end=lint.Position(line=lines.end.line))
            for lines in said.ranges
            if lines.start is not None and lines.end is not None
        ],
    )
