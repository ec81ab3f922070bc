"""Of moby.buildkit.v1.Control what tells of builds that there were. Source: BuildKit's api/services/control."""

from __future__ import annotations

from typing import Annotated

from corten.build.buildkit.messages.types import Attributed, Timestamp
from corten.lib.grpc.status import Status
from corten.lib.protobuf.message import Message

STARTED, COMPLETE, DELETED = 0, 1, 2


class Descriptor(Message):
    """Content, by its digest."""

    media_type: Annotated[str, 1] = ""
    digest: Annotated[str, 2] = ""
    size: Annotated[int, 3] = 0
    annotations: Annotated[dict[str, str], 5] = {}


class ResultInfo(Message):
    """What is said of a result, and what each exporter, by its number, has made of it."""

    attestations: Annotated[list[Descriptor], 2] = []
    results: Annotated[dict[int, Descriptor], 3] = {}


class Record(Message):
    """One build. `results` are by platform, for several; `external_error` is the whole of `error`, details included."""

    ref: Annotated[str, 1] = ""
    frontend: Annotated[str, 2] = ""
    frontend_attrs: Annotated[dict[str, str], 3] = {}
    exporters: Annotated[list[Attributed], 4] = []
    error: Annotated[Status | None, 5] = None
    created_at: Annotated[Timestamp | None, 6] = None
    completed_at: Annotated[Timestamp | None, 7] = None
    logs: Annotated[Descriptor | None, 8] = None
    exporter_response: Annotated[dict[str, str], 9] = {}
    result: Annotated[ResultInfo | None, 10] = None
    results: Annotated[dict[str, ResultInfo], 11] = {}
    generation: Annotated[int, 12] = 0
    pinned: Annotated[bool, 14] = False
    cached_steps: Annotated[int, 15] = 0
    total_steps: Annotated[int, 16] = 0
    completed_steps: Annotated[int, 17] = 0
    external_error: Annotated[Descriptor | None, 18] = None
    warnings: Annotated[int, 19] = 0


class Event(Message):
    """Something about a build: that it has begun, that it is over, that its record is gone."""

    type: Annotated[int, 1] = 0
    record: Annotated[Record | None, 2] = None


class ListenRequest(Message):
    """Which builds; `early_exit` asks for those of now alone."""

    active_only: Annotated[bool, 1] = False
    ref: Annotated[str, 2] = ""
    early_exit: Annotated[bool, 3] = False
    filter: Annotated[list[str], 4] = []
    limit: Annotated[int, 5] = 0


class UpdateRequest(Message):
    """What becomes of a record."""

    ref: Annotated[str, 1] = ""
    pinned: Annotated[bool, 2] = False
    delete: Annotated[bool, 3] = False
    finalize: Annotated[bool, 4] = False
