"""What BuildKit's clients hear of a running build: vertices, their sub-lines, output and warnings. Pure.

The JSON is that of `docker build --progress=rawjson`; over gRPC the same fields go as moby.buildkit.v1.StatusResponse.
A later message about a vertex or a status replaces the earlier one with its digest, or its id.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from corten.spec.docker.lint import Range


class SolveVertex(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One step. `digest` is `sha256:<hex>`; without times it is announced, with `started` it runs."""

    digest: str
    inputs: list[str] = msgspec.field(default_factory=list)
    name: str = ""
    started: datetime | None = None
    completed: datetime | None = None
    cached: bool = False
    error: str = ""


class VertexStatus(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A line below a step: how far it is with something, in bytes."""

    id: str
    vertex: str = ""
    name: str = ""
    total: int = 0
    current: int = 0
    timestamp: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None


class VertexLog(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A piece of a step's output; `stream` is 1 or 2."""

    vertex: str = ""
    stream: int = 1
    data: bytes = b""
    timestamp: datetime | None = None


class SourceInfo(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The file that a warning is about."""

    filename: str = ""
    data: bytes = b""
    language: str = ""


class VertexWarning(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What a check has found."""

    vertex: str = ""
    level: int = 0
    short: bytes = b""
    detail: list[bytes] = msgspec.field(default_factory=list)
    url: str = ""
    source_info: SourceInfo | None = msgspec.field(default=None, name="sourceInfo")
    range: list[Range] = msgspec.field(default_factory=list)


class SolveStatus(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One message."""

    vertexes: list[SolveVertex] = msgspec.field(default_factory=list)
    statuses: list[VertexStatus] = msgspec.field(default_factory=list)
    logs: list[VertexLog] = msgspec.field(default_factory=list)
    warnings: list[VertexWarning] = msgspec.field(default_factory=list)
