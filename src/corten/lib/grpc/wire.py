"""An HTTP/2 connection for gRPC, at either end of it; h2 is the protocol, this its bytes and streams. Daemon's loop.

Each peer is a stranger: streams, headers, messages and what waits unread are bounded, and one that does not read what
it makes us answer is not read from either. Source: RFC 9113; CVE-2023-44487 (streams opened and reset in a loop).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from corten.errors import ResourceExhausted
from corten.lib.grpc.headers import Headers
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.grpc.stream import Stream
from corten.lib.memory import Memory

MESSAGE_LIMIT = 16 << 20
_STREAMS = 1024  # a client of Go's has one connection for all its builds, and waits for room without a word
_STREAM_WINDOW = 1 << 20
_CONNECTION_WINDOW = 8 << 20
_FRAME = 128 << 10
_HEADERS = 64 << 10
_PARTS = 64 << 20  # bytes of messages that have come in part, of one connection
_ALL = 512 << 20  # bytes that all connections of one end hold, beside _OWN of each
_EACH = 128 << 20  # of that, one may have so much: no single client takes it all
_OWN = 256 << 10  # so that who says little is heard whatever others do
_HIGH = 1 << 20  # bytes that wait to be written before writers, and the peer, wait
_CLOSING_S = 10.0  # for a peer to read what was said last; it may never
_RESETS = 2000  # of streams, by the peer, on one connection

Accept = Callable[[Stream], None]


def shared_memory() -> Memory:
    """For all connections of a daemon: what waits in them, come or to be sent, is bounded by it."""
    return Memory(_ALL)


class Wire(asyncio.Protocol):
    """One connection. `accept` is told of the peer's calls, None at the end that makes them; `lost` of the end.
    `memory` is shared with other connections."""

    def __init__(self, *, accept: Accept | None, limit: int = MESSAGE_LIMIT, memory: Memory | None = None) -> None:
        self._memory = memory or shared_memory()
        self._held = 0
        self._accept = accept
        self._limit = limit
        is_client = accept is None
        self._h2 = H2Connection(H2Configuration(client_side=is_client, header_encoding="utf-8"))
        settings = {
            SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
            SettingCodes.MAX_FRAME_SIZE: _FRAME,
            SettingCodes.MAX_HEADER_LIST_SIZE: _HEADERS,
        }
        if is_client:
            settings[SettingCodes.ENABLE_PUSH] = 0
        else:
            settings[SettingCodes.MAX_CONCURRENT_STREAMS] = _STREAMS
        self._h2.local_settings = Settings(client=is_client, initial_values=settings)
        self._h2.max_inbound_frame_size = _FRAME  # h2 takes it over from settings that are changed later alone
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._is_full = False
        self._resets = 0
        self._claimed = 0
        self.heard = 0  # how often something has come
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_reset: Callable[[Stream], None] | None = None

    async def start(self, fd: int, preface: bytes = b"") -> None:
        """Speak on this socket, which belongs to the connection from now on; `preface` was read from it already.

        Raises OSError.
        """
        sock = socket.socket(fileno=fd)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise
        if preface:
            self.data_received(preface)

    @property
    def is_open(self) -> bool:
        """Whether calls can be made and answered."""
        return self._transport is not None and not self.lost.done() and not self._transport.is_closing()

    @property
    def streams(self) -> int:
        """How many calls are open."""
        return len(self._streams)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Both ends send their settings at once."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=_HIGH)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - (1 << 16) + 1)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer; what is no HTTP/2 ends the connection."""
        if self.lost.done():
            return
        self.heard += 1
        try:
            events = self._h2.receive_data(data)
        except (H2Error, ValueError, KeyError):  # h2 lets some of what its codecs raise through
            self._flush()
            self.close()
            return
        for event in events:
            self._happened(event)
        if any(isinstance(event, WindowUpdated | RemoteSettingsChanged) for event in events):
            self._writable()  # once for all of them: they are small, and each may concern all streams
        self._flush()

    def eof_received(self) -> bool:
        """A connection of which one half is closed is of no use."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The connection is over, and with it all calls."""
        self._end("the connection was closed")

    def pause_writing(self) -> None:
        """The peer does not read: then what it says is not read either."""
        self._is_full = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        self._is_full = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._writable()

    # -- what h2 reports

    def _happened(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is None:
                self._acknowledge_all(event.flow_controlled_length, event.stream_id)
            else:
                stream.arrived(event.data, event.flow_controlled_length)
        elif isinstance(event, RequestReceived):
            self._asked(event.stream_id, cast("Headers", event.headers))
        elif isinstance(event, StreamReset):
            self._broken_off(event.stream_id, int(event.error_code))
        elif isinstance(event, ConnectionTerminated):
            self.close()
        elif isinstance(event, ResponseReceived | TrailersReceived | StreamEnded):
            self._answered(event)

    def _answered(self, event: ResponseReceived | TrailersReceived | StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        if isinstance(event, StreamEnded):
            stream.ended()
        else:
            stream.answered(cast("Headers", event.headers))

    def _asked(self, number: int, headers: Headers) -> None:
        assert self._accept is not None
        stream = Stream(self, number, headers, limit=self._limit)
        self._streams[number] = stream
        self._accept(stream)

    def _broken_off(self, number: int, code: int) -> None:
        self._resets += 1
        stream = self._streams.get(number)
        if stream is not None:
            stream.was_reset(code)
            if self.on_reset is not None:
                self.on_reset(stream)
        if self._accept is not None and self._resets > _RESETS:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._flush()
            self.close()

    def _writable(self) -> None:
        for stream in list(self._streams.values()):
            stream.writable()

    # -- for streams

    def open(self, headers: Headers, *, limit: int | None = None) -> Stream:
        """Begin a call. Raises GrpcError when the connection is over, or the peer takes no more calls."""
        if not self.is_open:
            raise GrpcError(Code.UNAVAILABLE, "the connection is closed")
        number = self._h2.get_next_available_stream_id()
        try:
            self._h2.send_headers(number, headers)
        except (H2Error, ValueError) as error:
            raise GrpcError(Code.UNAVAILABLE, f"the call cannot be made: {error}") from error
        stream = self._streams[number] = Stream(self, number, headers, limit=limit or self._limit)
        self._flush()
        return stream

    def room(self, number: int) -> int:
        """How many bytes can be sent on a stream now."""
        if self._is_full:
            return 0
        try:
            return min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
        except H2Error:
            return 0  # the stream is closed; that is reported to it by itself

    def send_data(self, number: int, data: bytes, *, end: bool) -> None:
        """Send what there is room for."""
        try:
            self._h2.send_data(number, data, end_stream=end)
        except (H2Error, ValueError) as error:
            raise GrpcError(Code.CANCELLED, "the call is over") from error
        self._flush()

    def send_headers(self, number: int, headers: Headers, *, end: bool = False) -> None:
        """Send headers or trailers; of a stream that is over, nothing."""
        try:
            self._h2.send_headers(number, headers, end_stream=end)
        except (H2Error, ValueError):
            return
        self._flush()

    def acknowledge(self, number: int, size: int) -> None:
        """The peer may send as much again."""
        self._acknowledge_all(size, number)
        self._flush()

    def _acknowledge_all(self, size: int, number: int) -> None:
        if size and not self.lost.done():
            try:
                self._h2.acknowledge_received_data(size, number)
            except (H2Error, ValueError):
                return  # the connection is closed

    def claim(self, size: int) -> bool:
        """Whether there is room for so many more bytes of messages that come in parts; negative gives it back."""
        if size > 0 and self._claimed + size > _PARTS:
            return False
        self._claimed += size
        return True

    def hold(self, size: int) -> bool:
        """Whether so many more bytes may wait here, come or to be sent; negative gives them back."""
        if size > 0 and self._held + size > _EACH:
            return False
        more = max(0, self._held + size - _OWN) - max(0, self._held - _OWN)
        try:
            self._memory.take(more)
        except ResourceExhausted:
            return False
        self._held += size
        return True

    def reset(self, number: int, code: int) -> None:
        """Break a stream off, if it is not over."""
        try:
            self._h2.reset_stream(number, code)
        except (H2Error, ValueError):
            return
        self._flush()

    def forget(self, stream: Stream) -> None:
        """A call is over at this end: what still comes of it is dropped."""
        if self._streams.pop(stream.number, None) is not None:
            self.acknowledge(stream.number, stream.dropped())

    # -- the end

    def close(self) -> None:
        """Write what is to be written, and close."""
        if self._transport is not None:
            if self._is_full:
                self._transport.abort()
            elif not self._transport.is_closing():
                self._transport.close()
                if self._transport.get_write_buffer_size():
                    asyncio.get_running_loop().call_later(_CLOSING_S, self._transport.abort)
        self._end("the connection was closed")

    def _end(self, reason: str) -> None:
        if self.lost.done():
            return
        self.lost.set_result(None)
        for stream in list(self._streams.values()):
            stream.fail(GrpcError(Code.UNAVAILABLE, reason))
            if self.on_reset is not None:
                self.on_reset(stream)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
