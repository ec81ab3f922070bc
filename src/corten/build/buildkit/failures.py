"""Why a build failed, as gRPC tells it: BuildKit's words, with details by which a client shows the lines and the step.
Pure; daemon. Source: BuildKit's solver/errdefs; the types' names are BuildKit's."""

from __future__ import annotations

import base64
from typing import Any

from corten.build.diagnosis import FailedStep
from corten.build.ops.run import StepFailed
from corten.build.status.face import Failure
from corten.lib import codec
from corten.lib.grpc.status import Code, Detail, GrpcError
from corten.spec.docker import lint

_DETAIL = "github.com/moby/buildkit/{}+json"
_EXCERPT_LIMIT = 24 << 10  # bytes of a Dockerfile that go with an error, which has to fit into headers


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
