"""moby.buildkit.v1.Control. Source: BuildKit's api/services/control/control.proto."""

from __future__ import annotations

from typing import Annotated

from corten.build.buildkit.messages.types import Attributed, Platform, Range, SourceInfo, Timestamp
from corten.lib.protobuf.message import Message


class CacheOptions(Message):
    """Where cache comes from and goes to."""

    exports: Annotated[list[Attributed], 4] = []
    imports: Annotated[list[Attributed], 5] = []


class SolveRequest(Message):
    """One build. As bytes: `definition` is a raw graph, `inputs` are a frontend's, `source_policy` says what may
    be built from."""

    ref: Annotated[str, 1] = ""
    definition: Annotated[bytes, 2] = b""
    old_exporter: Annotated[str, 3] = ""
    old_exporter_attrs: Annotated[dict[str, str], 4] = {}
    session: Annotated[str, 5] = ""
    frontend: Annotated[str, 6] = ""
    frontend_attrs: Annotated[dict[str, str], 7] = {}
    cache: Annotated[CacheOptions | None, 8] = None
    entitlements: Annotated[list[str], 9] = []
    inputs: Annotated[dict[str, bytes], 10] = {}
    internal: Annotated[bool, 11] = False
    source_policy: Annotated[bytes, 12] = b""
    exporters: Annotated[list[Attributed], 13] = []


class SolveResponse(Message):
    """What the exporters answer."""

    exporter_response: Annotated[dict[str, str], 1] = {}


class StatusRequest(Message):
    """Whose status is asked for."""

    ref: Annotated[str, 1] = ""


class Vertex(Message):
    """A step."""

    digest: Annotated[str, 1] = ""
    inputs: Annotated[list[str], 2] = []
    name: Annotated[str, 3] = ""
    cached: Annotated[bool, 4] = False
    started: Annotated[Timestamp | None, 5] = None
    completed: Annotated[Timestamp | None, 6] = None
    error: Annotated[str, 7] = ""


class VertexStatus(Message):
    """A line of a step."""

    id: Annotated[str, 1] = ""
    vertex: Annotated[str, 2] = ""
    name: Annotated[str, 3] = ""
    current: Annotated[int, 4] = 0
    total: Annotated[int, 5] = 0
    timestamp: Annotated[Timestamp | None, 6] = None
    started: Annotated[Timestamp | None, 7] = None
    completed: Annotated[Timestamp | None, 8] = None


class VertexLog(Message):
    """Output of a step."""

    vertex: Annotated[str, 1] = ""
    timestamp: Annotated[Timestamp | None, 2] = None
    stream: Annotated[int, 3] = 0
    msg: Annotated[bytes, 4] = b""


class VertexWarning(Message):
    """What a check has found."""

    vertex: Annotated[str, 1] = ""
    level: Annotated[int, 2] = 0
    short: Annotated[bytes, 3] = b""
    detail: Annotated[list[bytes], 4] = []
    url: Annotated[str, 5] = ""
    info: Annotated[SourceInfo | None, 6] = None
    ranges: Annotated[list[Range], 7] = []


class StatusResponse(Message):
    """What has changed."""

    vertexes: Annotated[list[Vertex], 1] = []
    statuses: Annotated[list[VertexStatus], 2] = []
    logs: Annotated[list[VertexLog], 3] = []
    warnings: Annotated[list[VertexWarning], 4] = []


class GCPolicy(Message):
    """A rule by which the cache is pruned. Bytes."""

    all: Annotated[bool, 1] = False
    reserved_space: Annotated[int, 3] = 0
    max_used_space: Annotated[int, 5] = 0


class BuildkitVersion(Message):
    """Which BuildKit this is as good as."""

    package: Annotated[str, 1] = ""
    version: Annotated[str, 2] = ""
    revision: Annotated[str, 3] = ""


class WorkerRecord(Message):
    """What runs builds."""

    id: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 2] = {}
    platforms: Annotated[list[Platform], 3] = []
    gc_policy: Annotated[list[GCPolicy], 4] = []
    version: Annotated[BuildkitVersion | None, 5] = None


class ListWorkersRequest(Message):
    """Which workers."""

    filter: Annotated[list[str], 1] = []


class ListWorkersResponse(Message):
    """All of them."""

    record: Annotated[list[WorkerRecord], 1] = []


class InfoResponse(Message):
    """What this is."""

    version: Annotated[BuildkitVersion | None, 1] = None


class DiskUsageRequest(Message):
    """Which records of the cache."""

    filter: Annotated[list[str], 1] = []


class UsageRecord(Message):
    """A record of the cache. Bytes."""

    id: Annotated[str, 1] = ""
    mutable: Annotated[bool, 2] = False
    in_use: Annotated[bool, 3] = False
    size: Annotated[int, 4] = 0
    created_at: Annotated[Timestamp | None, 6] = None
    last_used_at: Annotated[Timestamp | None, 7] = None
    usage_count: Annotated[int, 8] = 0
    description: Annotated[str, 9] = ""
    record_type: Annotated[str, 10] = ""
    shared: Annotated[bool, 11] = False


class DiskUsageResponse(Message):
    """Those that there are."""

    record: Annotated[list[UsageRecord], 1] = []


class PruneRequest(Message):
    """What is to go. Nanoseconds, bytes."""

    filter: Annotated[list[str], 1] = []
    all: Annotated[bool, 2] = False
    keep_duration: Annotated[int, 3] = 0
    reserved_space: Annotated[int, 4] = 0
    max_used_space: Annotated[int, 5] = 0
    min_free_space: Annotated[int, 6] = 0


class HealthRequest(Message):
    """grpc.health.v1.HealthCheckRequest."""

    service: Annotated[str, 1] = ""


class HealthResponse(Message):
    """grpc.health.v1.HealthCheckResponse; 1 is serving."""

    status: Annotated[int, 1] = 1
