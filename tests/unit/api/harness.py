"""A server with a few handlers of the tests' own on a unix socket, and a client that writes raw bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from corten.api.router import Router
from corten.api.routing import Request, Response, empty, hijacked, json_response, route, stream_response
from corten.api.server import Limits, Server
from corten.errors import Conflict, NotFound, NotModified


class State:
    """What handlers saw."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.disconnected = asyncio.Event()
        self.produced = 0
        self.taken: Any = None
        self.bodies: list[bytes] = []


@route("GET", "/hello")
@route("HEAD", "/hello")
async def hello(request: Request, state: Any) -> Response:
    return json_response({"hello": request.query.text("name", "world"), "version": list(request.version)})


@route("POST", "/echo")
async def echo(request: Request, state: Any) -> Response:
    body = await request.connection.read_body()
    state.bodies.append(body)
    return Response(body=body, content_type="text/plain")


@route("POST", "/json")
async def json_body(request: Request, state: Any) -> Response:
    return json_response(await request.json(dict[str, Any]))


@route("POST", "/ignore")
async def ignore(request: Request, state: Any) -> Response:
    return empty(204)


@route("POST", "/slow-body")
async def slow_body(request: Request, state: Any) -> Response:
    total = 0
    async for piece in request.connection.body():
        state.started.set()
        await state.release.wait()
        total += len(piece)
    return json_response(total)


@route("GET", "/hang")
@route("POST", "/hang")
async def hang(request: Request, state: Any) -> Response:
    request.connection.on_disconnect(state.disconnected.set)
    state.started.set()
    try:
        await state.release.wait()
    except asyncio.CancelledError:
        state.cancelled.set()
        raise
    return json_response("released")


@route("GET", "/stream")
async def stream(request: Request, state: Any) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        try:
            state.started.set()
            for number in range(request.query.number("count", 3) or 0):
                if request.query.flag("wait"):
                    await state.release.wait()
                state.produced += 1
                yield b"%d\n" % number
            if request.query.flag("fail"):
                raise OSError("the source broke")
        finally:
            state.cancelled.set()

    return stream_response(lines(), "text/plain")


@route("GET", "/flood")
async def flood(request: Request, state: Any) -> Response:
    async def blocks() -> AsyncIterator[bytes]:
        block = b"x" * 65536
        while state.produced < 2000:
            state.produced += 1
            yield block

    return stream_response(blocks(), "text/plain")


@route("POST", "/take")
async def take(request: Request, state: Any) -> Response:
    await request.connection.read_body()
    state.taken = await request.connection.hijack(content_type="application/vnd.docker.raw-stream")
    return hijacked()


@route("GET", "/fail/{kind}")
async def fail(request: Request, state: Any) -> Response:
    kinds = {
        "conflict": Conflict("it is in use"),
        "missing": NotFound("No such thing: x", hint="make one"),
        "same": NotModified("already so"),
        "bug": ValueError("a bug"),
        "kernel": PermissionError(1, "Operation not permitted"),
    }
    raise kinds[request.params["kind"]]


@route("GET", "/images/{name:path}/json")
async def named(request: Request, state: Any) -> Response:
    return json_response(request.params["name"])


@route("GET", "/newer", since="1.45")
async def newer(request: Request, state: Any) -> Response:
    return json_response("new")


HANDLERS = (hello, echo, json_body, ignore, slow_body, hang, stream, flood, take, fail, named, newer)


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """The next response: status, headers, body (de-chunked)."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(head[0].split()[1])
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        if headers.get("transfer-encoding") == "chunked":
            pieces = []
            while True:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                pieces.append((await self.reader.readexactly(size + 2))[:-2])
                if size == 0:
                    return status, headers, b"".join(pieces)
        return status, headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def get(self, path: str, *headers: str) -> tuple[int, dict[str, str], bytes]:
        await self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n" + "".join(f"{h}\r\n" for h in headers) + "\r\n")
        return await self.response()

    async def ended(self) -> bool:
        """Whether the server closes without another byte."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.writer.close()


class Harness:
    """The server under test."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = str(path)
        self.state = State()
        routes = [entry for handler in HANDLERS for entry in handler.routes]
        self.server = Server(router=Router(routes), services=self.state, limits=limits)
        self.clients: list[Client] = []

    async def start(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(self.path)
        await self.server.listen(sock)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(self.path, limit=1 << 24))
        self.clients.append(client)
        return client


@asynccontextmanager
async def serving(directory: Path, **limits: float) -> AsyncIterator[Harness]:
    """A server with small limits, closed afterwards."""
    harness = Harness(directory / "s", Limits(**({"sweep_s": 0.02, "shutdown_s": 2.0} | limits)))
    await harness.start()
    try:
        yield harness
    finally:
        await harness.server.close()
        for client in harness.clients:
            client.close()
