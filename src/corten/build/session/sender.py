"""A result for the client: its files one by one (`-o type=local`), or as a tar. Daemon's loop; threads.

The daemon speaks first and lists its files; the client asks for those that it wants. What it asks for waits in a short
queue, and is read a piece at a time as the client takes it. The client is told which of its outputs is meant.
Source: send.go of github.com/tonistiigi/fsutil; BuildKit's session/filesync.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from corten.build.session.client import BytesMessage, Client, Stream
from corten.build.session.listing import CHAR, DEVICE, DIRECTORY, PIPE, SETGID, SETUID, STICKY, SYMLINK
from corten.build.session.packet import (
    DATA,
    ERR,
    FIN,
    REQ,
    STAT,
    BadPacket,
    Packet,
    Stat,
    decode_packet,
    encode_packet,
    encode_stat,
)
from corten.build.trees.tree import Node, Tree, join
from corten.engine.images.settled import never_half_done, settled
from corten.errors import InvalidArgument
from corten.lib import blocking
from corten.lib.protobuf.wire import encode

_METHOD = "/moby.filesync.v1.FileSend/DiffCopy"
_EXPORTER = "buildkit-attachable-exporter-id"
_PIECE = 32 << 10
_LISTED = 256  # entries at a time
_READ = 64  # files that are read at a time
_WAITING = 1 << 20  # files that a client has asked for and not got
_TYPES = {
    "file": 0, "directory": DIRECTORY, "symlink": SYMLINK, "char": DEVICE | CHAR, "block": DEVICE, "fifo": PIPE,
}  # fmt: skip
_to_its_end = never_half_done(blocking.run)  # the tree is closed when the transfer has ended
_BITS = ((SETUID, 0o4000), (SETGID, 0o2000), (STICKY, 0o1000))


async def send_tar(client: Client, exporter: int, pieces: AsyncIterator[bytes]) -> None:
    """Send a tar for output number `exporter`. Raises GrpcError, OSError."""
    async with client.stream(_METHOD, [(_EXPORTER, str(exporter))]) as stream:
        async for piece in pieces:
            for start in range(0, len(piece), _PIECE):
                await stream.send_bytes(encode(BytesMessage(data=piece[start : start + _PIECE])))
        await stream.end()
        while await stream.receive_bytes() is not None:
            pass


async def send_tree(client: Client, exporter: int, tree: Tree) -> None:
    """Send the files of a tree for output number `exporter`. Raises GrpcError, BadPacket, OSError."""
    async with client.stream(_METHOD, [(_EXPORTER, str(exporter))]) as stream:
        await _Sender(stream, tree).send()


class _File(NamedTuple):
    """A file that may be asked for: its number in the list, and its size as listed."""

    number: int
    path: str
    size: int


class _Sender:
    """One transfer."""

    def __init__(self, stream: Stream, tree: Tree) -> None:
        self._stream = stream
        self._tree = tree
        self._files: dict[int, _File] = {}  # what may be asked for, once
        self._asked: asyncio.Queue[_File | None] = asyncio.Queue(_WAITING)

    async def send(self) -> None:
        """List, answer, and agree on the end."""
        works = [asyncio.ensure_future(self._list()), asyncio.ensure_future(self._listen())]
        try:
            await asyncio.gather(*works)
        finally:
            for work in works:
                work.cancel()
            await settled(works)

    async def _list(self) -> None:
        """All entries, then the bytes of what was asked for, then the end."""
        entries = listed(self._tree)
        number = 0
        while batch := await _to_its_end(lambda: list(islice(entries, _LISTED))):
            for path, stat in batch:
                if not stat.mode & ~(0o777 | SETUID | SETGID | STICKY) and not stat.linkname:
                    self._files[number] = _File(number, path, stat.size)
                number += 1
                await self._stream.send_bytes(encode_packet(Packet(STAT, encode_stat(stat))))
        await self._stream.send_bytes(encode_packet(Packet(STAT)))
        while files := await self._next_files():
            small = [file for file in files if file.size <= _PIECE]
            for number, data in await _to_its_end(self._read, small):
                await self._send_piece(number, data)
            for file in files:
                if file.size > _PIECE:
                    await self._send_file(file)
                await self._stream.send_bytes(encode_packet(Packet(DATA, None, file.number)))
        await self._stream.send_bytes(encode_packet(Packet(FIN)))
        await self._stream.end()

    async def _listen(self) -> None:
        """What the client asks for, until it has all."""
        while (data := await self._stream.receive_bytes()) is not None:
            packet = decode_packet(data)
            if packet.type == ERR:
                raise InvalidArgument(f"error from receiver: {packet.data[:4096].decode('utf-8', 'replace')}")
            if packet.type == FIN:
                await self._asked.put(None)
                while await self._stream.receive_bytes() is not None:
                    pass
                return
            file = self._files.pop(packet.id, None) if packet.type == REQ else None
            if file is None:
                raise BadPacket(f"invalid file id {packet.id}")
            await self._asked.put(file)
        raise BadPacket("the client ended the transfer of files too early")

    async def _next_files(self) -> list[_File]:
        """What was asked for, as far as it is known; nothing at the end, which comes when all was sent."""
        files: list[_File] = []
        file = await self._asked.get()
        while file is not None:
            files.append(file)
            if len(files) == _READ or self._asked.empty():
                break
            file = self._asked.get_nowait()
        if file is None and files:
            self._asked.put_nowait(None)
        return files

    def _read(self, files: Sequence[_File]) -> list[tuple[int, bytes]]:
        """Small files, whole. A thread."""
        return [(file.number, b"".join(self._tree.chunks(file.path))) for file in files]

    async def _send_file(self, file: _File) -> None:
        chunks = self._tree.chunks(file.path)
        while chunk := await _to_its_end(next, chunks, b""):
            await self._send_piece(file.number, chunk)

    async def _send_piece(self, number: int, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            await self._stream.send_bytes(encode_packet(Packet(DATA, None, number, data[start : start + _PIECE])))


def listed(tree: Tree) -> Iterator[tuple[str, Stat]]:
    """Everything below a tree's root in the protocol's order, names of one inode as hard links. Blocking."""
    first: dict[tuple[int, int], bytes] = {}
    todo = [iter(_sorted(tree, ""))]
    ways = [""]
    while todo:
        name = next(todo[-1], None)
        if name is None:
            todo.pop()
            ways.pop()
            continue
        path = join(ways[-1], name)
        node = tree.lstat(path)
        if node is None:
            continue
        link = b""
        if node.identity is not None:
            link = first.setdefault(node.identity, os.fsencode(path))
        yield path, stat_of(tree, path, node, b"" if link == os.fsencode(path) else link)
        if node.kind == "directory":
            todo.append(iter(_sorted(tree, path)))
            ways.append(path)


def _sorted(tree: Tree, path: str) -> list[str]:
    """By bytes, as the client compares them."""
    return sorted(tree.names(path), key=os.fsencode)


def stat_of(tree: Tree, path: str, node: Node, link: bytes) -> Stat:
    """What is told of an inode; `link` is the first name of it, for a further one. Blocking."""
    mode = _TYPES[node.kind] | (node.mode & 0o777)
    for theirs, ours in _BITS:
        mode |= theirs if node.mode & ours else 0
    return Stat(
        path=os.fsencode(path),
        mode=mode,
        uid=node.uid,
        gid=node.gid,
        size=node.size if node.kind == "file" else 0,
        mtime_ns=node.mtime_ns,
        linkname=os.fsencode(node.link) if node.kind == "symlink" else link,
        major=node.device[0],
        minor=node.device[1],
        xattrs=tuple(sorted(tree.xattrs(path).items())) if node.kind in ("file", "directory") else (),
    )
