"""moby.buildkit.v1.frontend.LLBBridge. Source: BuildKit's frontend/gateway/pb/gateway.proto."""

from __future__ import annotations

from typing import Annotated

from corten.build.buildkit.messages.control import WorkerRecord
from corten.build.buildkit.messages.pb import SourceOp
from corten.build.buildkit.messages.types import Platform, Range, SourceInfo
from corten.lib.grpc.status import Status
from corten.lib.protobuf.message import Message


class APICap(Message):
    """Something that one of the sides can do."""

    id: Annotated[str, 1] = ""
    enabled: Annotated[bool, 2] = False


class PingResponse(Message):
    """What can be done here."""

    frontend_api_caps: Annotated[list[APICap], 1] = []
    llb_caps: Annotated[list[APICap], 2] = []
    workers: Annotated[list[WorkerRecord], 3] = []


class SolveRequest(Message):
    """A Dockerfile to build, or a raw graph (`definition`). `inputs` are graphs, too, as bytes."""

    definition: Annotated[bytes, 1] = b""
    frontend: Annotated[str, 2] = ""
    frontend_opt: Annotated[dict[str, str], 3] = {}
    inputs: Annotated[dict[str, bytes], 13] = {}
    evaluate: Annotated[bool, 14] = False


class Ref(Message):
    """A result, by the name that it has in its build, and by a definition (linked.py)."""

    id: Annotated[str, 1] = ""
    definition: Annotated[bytes, 2] = b""


class RefMap(Message):
    """Results by platform."""

    refs: Annotated[dict[str, Ref], 1] = {}


class Result(Message):
    """One result, or one a platform, and what is said of it."""

    old_ref: Annotated[str, 1] = ""
    ref: Annotated[Ref | None, 3] = None
    refs: Annotated[RefMap | None, 4] = None
    metadata: Annotated[dict[str, bytes], 10] = {}


class SolveResponse(Message):
    """The result."""

    result: Annotated[Result | None, 3] = None


class ReturnRequest(Message):
    """The end of a client's part: which result is exported, or why there is none."""

    result: Annotated[Result | None, 1] = None
    error: Annotated[Status | None, 2] = None


class RefRequest(Message):
    """Something about a result."""

    ref: Annotated[str, 1] = ""


class FileRange(Message):
    """A part of a file. Bytes."""

    offset: Annotated[int, 1] = 0
    length: Annotated[int, 2] = 0


class ReadFileRequest(Message):
    """A file of a result."""

    ref: Annotated[str, 1] = ""
    path: Annotated[str, 2] = ""
    range: Annotated[FileRange | None, 3] = None


class ReadFileResponse(Message):
    """Its bytes."""

    data: Annotated[bytes, 1] = b""


class ReadDirRequest(Message):
    """A directory of a result; `pattern` is of names."""

    ref: Annotated[str, 1] = ""
    path: Annotated[str, 2] = ""
    pattern: Annotated[str, 3] = ""


class ReadDirResponse(Message):
    """What it holds (fsutil.types.Stat)."""

    entries: Annotated[list[bytes], 1] = []


class StatFileRequest(Message):
    """A file of a result."""

    ref: Annotated[str, 1] = ""
    path: Annotated[str, 2] = ""


class StatFileResponse(Message):
    """What it is (fsutil.types.Stat)."""

    stat: Annotated[bytes, 1] = b""


class ImageConfigRequest(Message):
    """An image by its name; `resolve_mode` is `pull` to have its registry asked."""

    ref: Annotated[str, 1] = ""
    platform: Annotated[Platform | None, 2] = None
    resolve_mode: Annotated[str, 3] = ""


class ImageConfigResponse(Message):
    """What the name means, and the image's configuration."""

    digest: Annotated[str, 1] = ""
    config: Annotated[bytes, 2] = b""
    ref: Annotated[str, 3] = ""


class SourceMetaRequest(Message):
    """A source, of which only images (`docker-image://`) are known."""

    source: Annotated[SourceOp | None, 1] = None
    platform: Annotated[Platform | None, 2] = None
    resolve_mode: Annotated[str, 4] = ""


class SourceImage(Message):
    """What is said of an image."""

    digest: Annotated[str, 1] = ""
    config: Annotated[bytes, 2] = b""


class SourceMetaResponse(Message):
    """What is said of a source."""

    source: Annotated[SourceOp | None, 1] = None
    image: Annotated[SourceImage | None, 2] = None


class WarnRequest(Message):
    """A warning of the client's."""

    digest: Annotated[str, 1] = ""
    level: Annotated[int, 2] = 0
    short: Annotated[bytes, 3] = b""
    detail: Annotated[list[bytes], 4] = []
    url: Annotated[str, 5] = ""
    info: Annotated[SourceInfo | None, 6] = None
    ranges: Annotated[list[Range], 7] = []
