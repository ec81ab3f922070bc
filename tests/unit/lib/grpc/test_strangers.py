"""What a peer may send that is no gRPC: the connection or the call ends, and what waits is bounded."""

import asyncio
import socket
import tracemalloc
from contextlib import asynccontextmanager

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, PingAckReceived, ResponseReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.lib.grpc import wire
from corten.lib.grpc.headers import Metadata, request_headers, timeout_s, timeout_text
from corten.lib.grpc.server import Connection
from corten.lib.grpc.status import Code, Detail, GrpcError, error_of, trailers_of

LIMIT = 30


async def swallow(call):
    """Reads bytes of any length until the end."""
    while await call._stream.receive_bytes() is not None:
        pass


async def hang(call):
    await asyncio.Event().wait()


class Raw:
    """A client that speaks HTTP/2 by hand."""

    def __init__(self, sock):
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.reader = self.writer = None
        self.sock = sock

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection(sock=self.sock)
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self):
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def until(self, kind):
        """The first event of this kind; None when the connection ends."""
        async with asyncio.timeout(LIMIT):
            while data := await self.reader.read(65536):
                events = self.h2.receive_data(data)
                await self.flush()
                found = [event for event in events if isinstance(event, kind)]
                if found:
                    return found[0]
        return None


@asynccontextmanager
async def served():
    here, there = socket.socketpair()
    connection = Connection({"/t/Swallow": swallow, "/t/Hang": hang}, limit=100_000)
    server = asyncio.ensure_future(connection.serve(there.detach()))
    raw = Raw(here)
    try:
        yield raw, connection, server
    finally:
        if raw.writer is not None:
            raw.writer.close()
        here.close()
        async with asyncio.timeout(LIMIT):
            await server


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\1\0\0\0\0\0\0x",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\4\1\5\0\0\0\1\xff\xff\xff\xff",
    ],
)
async def test_what_is_no_http2_ends_the_connection(data):
    async with served() as (raw, _, server):
        raw.sock.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(raw.sock, data)
        async with asyncio.timeout(LIMIT):
            await server


async def test_a_connection_that_is_closed_at_once_is_no_error():
    async with served() as (raw, _, server):
        raw.sock.close()
        async with asyncio.timeout(LIMIT):
            await server


async def test_headers_without_end_end_the_connection():
    async with served() as (raw, _, server):
        await raw.open()
        raw.h2.send_headers(1, [*request_headers("/t/Swallow"), ("x", "y" * 70_000)])
        await raw.flush()
        await raw.until(ConnectionTerminated)
        async with asyncio.timeout(LIMIT):
            await server


async def test_more_streams_than_allowed_end_the_connection():
    async with served() as (raw, _, server):
        await raw.open()
        raw.h2.remote_settings.max_concurrent_streams = 10_000
        for number in range(1, 2101, 2):
            raw.h2.send_headers(number, request_headers("/t/Hang"))
        await raw.flush()
        await raw.until(ConnectionTerminated)
        async with asyncio.timeout(LIMIT):
            await server


async def test_streams_opened_and_reset_in_a_loop_end_the_connection():
    async with served() as (raw, connection, server):
        await raw.open()
        most = 0
        for number in range(1, 20_001, 2):
            try:
                raw.h2.send_headers(number, request_headers("/t/Hang"))
                raw.h2.reset_stream(number)
                await raw.flush()
            except OSError:
                break
            most = max(most, len(connection._tasks))
            if server.done():
                break
        assert most <= 1152
        raw.writer.close()
        async with asyncio.timeout(LIMIT):
            await server


async def test_a_message_that_never_ends_is_refused_at_its_length():
    async with served() as (raw, _, _server):
        await raw.open()
        raw.h2.send_headers(1, request_headers("/t/Swallow"))
        raw.h2.send_data(1, b"\0\x7f\xff\xff\xff" + bytes(1000))
        await raw.flush()
        response = await raw.until(ResponseReceived)
        assert dict(response.headers)[b"grpc-status"] == b"8"


async def test_compressed_messages_are_refused():
    async with served() as (raw, _, _server):
        await raw.open()
        raw.h2.send_headers(1, request_headers("/t/Swallow"))
        raw.h2.send_data(1, b"\1\0\0\0\1x", end_stream=True)
        await raw.flush()
        response = await raw.until(ResponseReceived)
        assert dict(response.headers)[b"grpc-status"] == b"12"


async def test_data_for_a_call_that_does_not_read_stops_at_the_window():
    async with served() as (raw, _connection, _server):
        await raw.open()
        await raw.until(object)
        raw.h2.send_headers(1, request_headers("/t/Hang"))
        await raw.flush()
        sent = 0
        while (room := raw.h2.local_flow_control_window(1)) > 0:
            raw.h2.send_data(1, bytes(min(room, 16384)))
            sent += min(room, 16384)
            await raw.flush()
        assert sent <= 1 << 20


async def test_frames_without_bytes_take_no_memory():
    """CVE-2019-9518: they take nothing of the window, so any number may come."""
    async with served() as (raw, connection, _server):
        await raw.open()
        await raw.until(object)
        raw.h2.send_headers(1, request_headers("/t/Hang"))
        await raw.flush()
        tracemalloc.start()
        try:
            raw.writer.write(b"\0\0\0\0\0\0\0\0\1" * 50_000)
            raw.h2.ping(b"12345678")
            await raw.flush()
            await raw.until(PingAckReceived)
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert connection._wire.streams == 1
        assert taken < 2_000_000


async def test_a_flood_of_window_updates_wakes_streams_once_for_many(monkeypatch):
    async with served() as (raw, connection, _server):
        await raw.open()
        await raw.until(object)
        woken = []
        monkeypatch.setattr(connection._wire, "_writable", lambda: woken.append(1))
        raw.writer.write(b"\0\0\x04\x08\0\0\0\0\0\0\0\0\1" * 10_000)
        raw.h2.ping(b"12345678")
        await raw.flush()
        await raw.until(PingAckReceived)
        assert 0 < len(woken) < 100


async def test_a_peer_that_never_reads_the_end_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(wire, "_CLOSING_S", 0.05)
    async with served() as (raw, connection, server):
        await raw.open()
        await raw.until(object)
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        raw.writer.transport.pause_reading()
        ping = b"\0\0\x08\6\0\0\0\0\0" + b"12345678"
        async with asyncio.timeout(LIMIT):
            while connection._wire._transport.get_write_buffer_size() == 0:
                raw.writer.write(ping * 100)
                await asyncio.sleep(0)
            fd = connection._wire._transport.get_extra_info("socket")
            connection._wire.close()
            await server
            while fd.fileno() >= 0:
                await asyncio.sleep(0.01)


async def test_a_peer_that_does_not_read_is_not_read_from():
    async with served() as (raw, connection, _server):
        raw.sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(raw.sock, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        ping = b"\0\0\x08\6\0\0\0\0\0" + b"12345678"
        sent = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):  # by then it stands still
                while sent < 64 << 20:
                    await loop.sock_sendall(raw.sock, ping * 4000)
                    sent += len(ping) * 4000
        transport = connection._wire._transport
        assert transport.get_write_buffer_size() < 4 << 20


@given(st.text(max_size=200), st.integers(1, 16), st.lists(st.binary(max_size=50), max_size=3))
@settings(max_examples=200)
def test_a_status_survives_its_trailers(text, code, values):
    text = text.encode("utf-8", "replace").decode()
    error = GrpcError(Code(code), text, [Detail(type_url="a/b", value=value) for value in values])
    trailers = trailers_of(error)
    assert all(value.isascii() and value.isprintable() for _, value in trailers)
    read = error_of(dict(trailers))
    assert (read.status, read.message, read.details) == (error.status, text, error.details)


def test_a_status_has_room_in_headers():
    error = GrpcError(Code.UNKNOWN, "é" * 100_000, [Detail(value=bytes(100_000)), Detail(value=b"kept")])
    assert sum(len(name) + len(value) for name, value in trailers_of(error)) < 64 << 10
    assert [detail.value for detail in error_of(dict(trailers_of(error))).details] == [b"kept"]


@pytest.mark.parametrize("trailers", [{}, {"grpc-status": "x"}, {"grpc-status": ""}])
def test_an_end_without_a_status_is_an_error(trailers):
    assert error_of(trailers).status is Code.INTERNAL


def test_a_status_that_nobody_knows_is_unknown():
    assert error_of({"grpc-status": "77", "grpc-status-details-bin": "%%%"}).status is Code.UNKNOWN


@pytest.mark.parametrize(
    ("text", "seconds"), [("", None), ("5S", 5), ("14999756u", 14.999756), ("2m", 0.002), ("1H", 3600)]
)
def test_timeouts(text, seconds):
    assert timeout_s(text) == pytest.approx(seconds) if seconds else timeout_s(text) is None


@pytest.mark.parametrize("text", ["5", "S", "123456789S", "-1S", "1.5S", "5x"])
def test_a_malformed_timeout_is_refused(text):
    with pytest.raises(GrpcError):
        timeout_s(text)


def test_timeouts_are_written_with_eight_digits_at_most():
    assert timeout_text(15) == "15000m"
    assert timeout_text(10**6) == "1000000S"
    assert timeout_text(0.00001) == "1m"


def test_metadata_has_all_values_of_a_name_and_nothing_of_the_protocol():
    metadata = Metadata([(":path", "/x"), ("te", "trailers"), ("a", "1"), ("grpc-timeout", "1S"), ("a", "2")])
    assert metadata.all("a") == ("1", "2")
    assert (metadata.first("te"), metadata.first("grpc-timeout"), metadata.first("b", "-")) == ("", "", "-")
