"""A client of BuildKit's API of the tests' own: what buildx does, call by call, on the daemon's socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from corten.build.session.client import BytesMessage
from corten.lib.grpc.channel import Bidi, Channel
from corten.lib.grpc.server import Call, Connection
from tests.lab.daemon import Daemon
from tests.unit.build.session_peer import Peer, Pipe

WAIT_S = 60


def upgraded(daemon: Daemon, path: str, headers: str = "", upgrade: str = "h2c") -> tuple[socket.socket, bytes]:
    """A connection after the daemon's answer, and that."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(WAIT_S)
    sock.connect(str(daemon.socket))
    lines = f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n" if upgrade else ""
    sock.sendall(f"POST {path} HTTP/1.1\r\nHost: \r\n{lines}Content-Length: 0\r\n{headers}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(1)
        if not piece:
            break
        answer += piece
    return sock, answer


@asynccontextmanager
async def calls(daemon: Daemon) -> AsyncIterator[Channel]:
    """The connection on which the client calls."""
    sock, answer = await asyncio.to_thread(upgraded, daemon, "/grpc")
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    channel = Channel()
    await channel.start(sock.detach())
    try:
        yield channel
    finally:
        channel.close()


@asynccontextmanager
async def session(daemon: Daemon, session_id: str, peer: Peer) -> AsyncIterator[asyncio.Task[None]]:
    """The connection on which the client serves; the task ends with it."""
    headers = f"X-Docker-Expose-Session-Uuid: {session_id}\r\nX-Docker-Expose-Session-Sharedkey: {peer.shared_key}\r\n"
    headers += "".join(f"X-Docker-Expose-Session-Grpc-Method: {method}\r\n" for method in peer.handlers)
    sock, answer = await asyncio.to_thread(upgraded, daemon, "/session", headers)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    methods = {method: _handler(peer, method) for method in peer.handlers}
    task = asyncio.ensure_future(Connection(methods, limit=4 << 20).serve(sock.detach()))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def served_inside(tunnel: Bidi, peer: Peer) -> AsyncIterator[None]:
    """A session whose bytes are messages of a call (Control.Session)."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop = asyncio.get_running_loop()

    async def outward() -> None:
        while data := await loop.sock_recv(ours, 32 << 10):
            await tunnel.send(BytesMessage(data=data))

    async def inward() -> None:
        while (message := await tunnel.receive(BytesMessage)) is not None:
            await loop.sock_sendall(ours, message.data)

    methods = {method: _handler(peer, method) for method in peer.handlers}
    connection = Connection(methods, limit=4 << 20)
    tasks = [asyncio.ensure_future(work) for work in (connection.serve(theirs.detach()), outward(), inward())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        ours.close()


def _handler(peer: Peer, method: str):
    async def handle(call: Call) -> None:
        names = ("dir-name", "include-patterns", "exclude-patterns", "followpaths", "buildkit-attachable-exporter-id")
        values = {name: list(call.metadata.all(name)) for name in names if call.metadata.all(name)}
        reading, writing = Pipe(), Pipe()

        async def read() -> None:
            while (message := await call.receive_bytes()) is not None:
                await reading.put(message)
            await reading.put(None)

        async def write() -> None:
            while (message := await writing.get()) is not None:
                await call.send_bytes(message)

        pumps = [asyncio.ensure_future(read()), asyncio.ensure_future(write())]
        try:
            await peer.handlers[method](values, reading, writing)
            await writing.put(None)
            await pumps[1]
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)

    return handle
