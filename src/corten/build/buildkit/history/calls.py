"""What clients call about history: Control.ListenBuildHistory and UpdateBuildHistory, and the content service, by which
they read logs, errors and attestations of records. Daemon's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime

from corten.build.buildkit.history.history import History
from corten.build.buildkit.messages import content, history
from corten.build.buildkit.messages.types import Nothing
from corten.engine.images.views import rfc3339
from corten.errors import NotFound
from corten.lib.grpc.headers import Metadata
from corten.lib.grpc.server import Call, Handler, streaming, unary
from corten.lib.grpc.status import Code, GrpcError

_CONTROL = "/moby.buildkit.v1.Control/"
_CONTENT = "/containerd.services.content.v1.Content/"
_PIECE = 1 << 20
NOW = "buildkit-current-timestamp"


def now_header() -> list[tuple[str, str]]:
    """The engine's time, by which clients tell how long a build runs."""
    return [(NOW, rfc3339(int(datetime.now(UTC).timestamp() * 1e9)))]


class HistoryCalls:
    """One a daemon."""

    def __init__(self, history: History) -> None:
        self._history = history

    def methods(self) -> Mapping[str, Handler]:
        """By their paths."""
        return {
            f"{_CONTROL}ListenBuildHistory": self._listen,
            f"{_CONTROL}UpdateBuildHistory": unary(history.UpdateRequest, self._update),
            f"{_CONTENT}Info": unary(content.InfoRequest, self._info),
            f"{_CONTENT}Read": streaming(content.ReadRequest, self._read),
        }

    async def _listen(self, call: Call) -> None:
        request = await call.receive(history.ListenRequest)
        if request is None:
            raise GrpcError(Code.INTERNAL, "the call has no message")
        call.begin(now_header())
        events = self._history.listen(
            ref=request.ref,
            filters=request.filter,
            limit=request.limit,
            active=request.active_only,
            once=request.early_exit,
        )
        async with aclosing(events) as messages:
            async for event in messages:
                await call.send(event)

    async def _update(self, request: history.UpdateRequest, metadata: Metadata) -> Nothing:  # noqa: ARG002
        if request.delete:
            await self._history.delete(request.ref)
        elif not request.finalize:  # which asks for the rest of a record; there is none here
            await self._history.pin(request.ref, request.pinned)
        return Nothing()

    async def _info(self, request: content.InfoRequest, metadata: Metadata) -> content.InfoResponse:  # noqa: ARG002
        with _as_grpc():
            size = await self._history.size(request.digest)
        return content.InfoResponse(info=content.Info(digest=request.digest, size=size))

    async def _read(
        self,
        request: content.ReadRequest,
        metadata: Metadata,  # noqa: ARG002
    ) -> AsyncIterator[content.ReadResponse]:
        with _as_grpc():
            size = await self._history.size(request.digest)
            end = size if not request.size else min(size, request.offset + request.size)
            if not 0 <= request.offset <= end:
                raise GrpcError(Code.OUT_OF_RANGE, f"{request.offset} is behind the end of {request.digest[:80]}")
            at = request.offset
            while at < end:
                data = await self._history.read(request.digest, at, min(_PIECE, end - at))
                if not data:
                    raise GrpcError(Code.DATA_LOSS, f"{request.digest[:80]} is shorter than it was")
                yield content.ReadResponse(offset=at, data=data)
                at += len(data)


@contextmanager
def _as_grpc() -> Iterator[None]:
    """What is not there is told by a code that clients look at."""
    try:
        yield
    except NotFound as error:
        raise GrpcError(Code.NOT_FOUND, error.message) from error
