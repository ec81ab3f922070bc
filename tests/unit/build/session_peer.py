"""A build client of the tests' own: it serves a directory, takes results and offers things, in memory, as buildx does
over its session. What it is asked is written down."""

from __future__ import annotations

import asyncio
import os
import stat as stats
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote_plus

from corten.build.dockerfile.dockerignore import Matcher
from corten.build.session.client import BytesMessage
from corten.build.session.listing import CHAR, DEVICE, DIRECTORY, PIPE, SETGID, SETUID, SOCKET, STICKY, SYMLINK, TYPES
from corten.build.session.packet import (
    DATA,
    FIN,
    REQ,
    STAT,
    Packet,
    Stat,
    decode_packet,
    decode_stat,
    encode_packet,
    encode_stat,
)
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.wire import decode, encode

WAIT_S = 30
_DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
_KINDS = {
    stats.S_IFREG: 0, stats.S_IFDIR: DIRECTORY, stats.S_IFLNK: SYMLINK, stats.S_IFCHR: DEVICE | CHAR,
    stats.S_IFBLK: DEVICE, stats.S_IFIFO: PIPE, stats.S_IFSOCK: SOCKET,
}  # fmt: skip


class Pipe:
    """One direction of a call."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes | GrpcError | None] = asyncio.Queue(64)
        self._ended = False

    async def put(self, message: bytes | GrpcError | None) -> None:
        async with asyncio.timeout(WAIT_S):  # wait_for of Python 3.11 may lose a cancellation
            await self._messages.put(message)

    async def get(self) -> bytes | None:
        if self._ended:
            return None
        async with asyncio.timeout(WAIT_S):
            message = await self._messages.get()
        if isinstance(message, GrpcError):
            raise message
        self._ended = message is None
        return message


class Ours:
    """The daemon's end of a call."""

    def __init__(self, out: Pipe, into: Pipe) -> None:
        self._out, self._into = out, into

    async def send_bytes(self, message: bytes) -> None:
        await self._out.put(message)

    async def receive_bytes(self) -> bytes | None:
        return await self._into.get()

    async def end(self) -> None:
        await self._out.put(None)


Handler = Callable[[Mapping[str, Sequence[str]], Pipe, Pipe], Awaitable[None]]


class Peer:
    """The client. `directories` by name; `asked` has the paths of files whose bytes were requested."""

    def __init__(self, directories: Mapping[str, Path] | None = None, *, shared_key: str = "key") -> None:
        self.directories = dict(directories or {})
        self.shared_key = shared_key
        self.asked: list[str] = []
        self.calls: list[tuple[str, dict[str, list[str]]]] = []
        self.secrets: dict[str, bytes] = {}
        self.agents: dict[str, Callable[[bytes], bytes]] = {}
        self.received: dict[str, tuple[Stat, bytes]] = {}
        self.tar = bytearray()
        self.handlers: dict[str, Handler] = {_DIFF_COPY: self._serve, _SEND: self._take}
        self.unary: dict[str, Callable[[object], object]] = {}

    def offers(self, method: str) -> bool:
        return method in self.handlers or method in self.unary

    async def call(self, method, request, kind):
        answer = self.unary[method](request)
        if isinstance(answer, GrpcError):
            raise answer
        return decode(kind, encode(answer))

    @asynccontextmanager
    async def stream(self, method: str, metadata: Sequence[tuple[str, str]] = ()) -> AsyncIterator[Ours]:
        values: dict[str, list[str]] = {}
        for key, value in metadata:
            values.setdefault(key, []).append(value)
        for key in [key for key in values if key.endswith("-encoded")]:
            plain = key.removesuffix("-encoded")
            values[plain] = [unquote_plus(value, errors="surrogateescape") for value in values[plain]]
        self.calls.append((method, values))
        to_peer, to_us = Pipe(), Pipe()

        async def serve() -> None:
            try:
                await self.handlers[method](values, to_peer, to_us)
            except GrpcError as error:
                await to_us.put(error)
            else:
                await to_us.put(None)

        task = asyncio.ensure_future(serve())
        try:
            yield Ours(to_peer, to_us)
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and (error := task.exception()):
                raise error

    # -- the client as a sender

    async def _serve(self, values: Mapping[str, Sequence[str]], reading: Pipe, writing: Pipe) -> None:
        name = values["dir-name"][0]
        if name not in self.directories:
            raise GrpcError(Code.NOT_FOUND, f'no access allowed to dir "{name}"')
        listed = listing(
            self.directories[name], excludes=values.get("exclude-patterns", ()), follow=values.get("followpaths", ())
        )
        paths: list[Path] = []
        for path, stat in listed:
            paths.append(path)
            await writing.put(encode_packet(Packet(STAT, encode_stat(stat))))
        await writing.put(encode_packet(Packet(STAT)))
        while (message := await reading.get()) is not None:
            packet = decode_packet(message)
            if packet.type == FIN:
                await writing.put(encode_packet(Packet(FIN)))
                return
            assert packet.type == REQ
            self.asked.append(os.fsdecode(listed[packet.id][1].path))
            data = paths[packet.id].read_bytes()
            for start in range(0, len(data), 32 << 10):
                await writing.put(encode_packet(Packet(DATA, None, packet.id, data[start : start + (32 << 10)])))
            await writing.put(encode_packet(Packet(DATA, None, packet.id)))

    # -- the client as a receiver

    async def _take(self, values: Mapping[str, Sequence[str]], reading: Pipe, writing: Pipe) -> None:
        first = await reading.get()
        if first is not None and decode(BytesMessage, first).data[:1] and not first.startswith(b"\x12"):
            while first is not None:
                self.tar += decode(BytesMessage, first).data
                first = await reading.get()
            return
        found: list[Stat] = []
        while first is not None and (raw := decode_packet(first).stat) is not None:
            found.append(decode_stat(raw))
            first = await reading.get()
        bodies = {number: b"" for number, stat in enumerate(found) if not stat.mode & TYPES and not stat.linkname}
        for number in bodies:
            await writing.put(encode_packet(Packet(REQ, id=number)))
            while data := decode_packet(await reading.get() or b"").data:
                bodies[number] += data
        self.received = {os.fsdecode(s.path): (s, bodies.get(n, b"")) for n, s in enumerate(found)}
        await writing.put(encode_packet(Packet(FIN)))
        assert decode_packet(await reading.get() or b"").type == FIN


def listing(root: Path, *, excludes: Sequence[str] = (), follow: Sequence[str] = ()) -> list[tuple[Path, Stat]]:
    """A directory as fsutil lists it, with directories that hold something that is wanted."""
    matcher = Matcher(excludes)
    found: dict[str, Path] = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            relative = os.fspath(path.relative_to(root))
            if matcher.ignores(relative) or not _is_followed(relative, follow):
                continue
            while relative and relative not in found:
                found[relative] = root / relative
                relative = os.path.dirname(relative)
    inodes: dict[tuple[int, int], bytes] = {}
    result = []
    for relative in sorted(found, key=lambda name: os.fsencode(name).replace(b"/", b"\0")):
        status = os.lstat(found[relative])
        mode = _KINDS[stats.S_IFMT(status.st_mode)] | (status.st_mode & 0o777)
        for ours, theirs in ((0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)):
            mode |= theirs if status.st_mode & ours else 0
        link = os.fsencode(os.readlink(found[relative])) if stats.S_ISLNK(status.st_mode) else b""
        if stats.S_ISREG(status.st_mode) and status.st_nlink > 1:
            first = inodes.setdefault((status.st_dev, status.st_ino), os.fsencode(relative))
            link = first if first != os.fsencode(relative) else b""
        size = 0 if stats.S_ISDIR(status.st_mode) else status.st_size
        stat = Stat(os.fsencode(relative), mode, size=size, mtime_ns=status.st_mtime_ns, linkname=link)
        result.append((found[relative], stat))
    return result


def _is_followed(path: str, follow: Sequence[str]) -> bool:
    return not follow or any(path == one or path.startswith(f"{one}/") for one in follow)
