"""The engine's end of a local build's connection. Daemon's loop; never blocks.

A descriptor that a client passed may be of a file system that does not answer (NFS, FUSE), or a socket that lingers:
looking at it and closing it may take for ever (fuse_flush, SO_LINGER of socket(7)), so a thread aside does both, for
one connection one thing at a time.
"""

from __future__ import annotations

import array
import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar

from corten.build.local.frames import (
    DATA_LIMIT,
    DESCRIPTORS_LIMIT,
    MESSAGE_LIMIT,
    BadFrame,
    Frame,
    FrameReader,
    close_all,
    frame,
)
from corten.errors import Unavailable
from corten.lib import blocking
from corten.lib.memory import Memory

T = TypeVar("T")
_CHUNK = 256 << 10
_SPACE = socket.CMSG_SPACE(4 * DESCRIPTORS_LIMIT)


class Channel:
    """Frames over a connected unix socket, which is its own to close."""

    def __init__(self, sock: socket.socket, memory: Memory | None = None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._memory = memory or Memory(MESSAGE_LIMIT + DATA_LIMIT + _CHUNK)
        self._held = 0
        self._kept = 0
        self._reader = FrameReader(self.discard)
        self._ready: deque[Frame] = deque()
        self._discarded: list[int] = []
        self._looking: asyncio.Future[None] | None = None
        self._sending = asyncio.Lock()

    async def receive(self) -> Frame | None:
        """The next frame; None when the client has left. Raises BadFrame, ResourceExhausted."""
        while not self._ready:
            await asyncio.sleep(0)  # a client that sends without end holds up nobody else
            try:
                data, ancillary, flags, _address = self._sock.recvmsg(_CHUNK, _SPACE, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await readable(self._sock)
                continue
            except OSError:
                return None
            fds = array.array("i")
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
            self._reader.feed(data, fds)
            self._hold(self._reader.waiting + self._kept)
            if flags & socket.MSG_CTRUNC:
                raise BadFrame("too many descriptors were sent")
            if len(self._discarded) > DESCRIPTORS_LIMIT:
                raise BadFrame("descriptors were sent that nobody asked for")
            if not data:
                return None
            self._ready.extend(self._reader.frames())
        return self._ready.popleft()

    def keep(self, size: int) -> None:
        """So many bytes of what has come are kept until the end. Raises ResourceExhausted."""
        self._kept += size
        self._hold(self._reader.waiting + self._kept)

    def _hold(self, size: int) -> None:
        self._memory.take(size - self._held)
        self._held = size

    async def send(self, message: bytes, data: bytes = b"") -> None:
        """Send a frame. Raises OSError when the client has left."""
        view = memoryview(frame(message, data))
        async with self._sending:
            while view:
                try:
                    view = view[self._sock.send(view, socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    await writable(self._sock)

    def discard(self, fds: Iterable[int]) -> None:
        """Descriptors that nobody needs any more; they are closed with the channel."""
        self._discarded += fds

    async def look(self, look: Callable[[T], None], at: T) -> None:
        """Call `look`, which may never return. Raises what it raises."""
        self._looking = asyncio.ensure_future(blocking.aside(look, at))
        self._looking.add_done_callback(lambda looking: looking.cancelled() or looking.exception())
        await asyncio.shield(self._looking)

    async def close(self) -> None:
        """Hang up, and close all descriptors that are not somebody else's. Returns when the kernel has let go."""
        self._hold(0)
        for waiting in self._ready:
            waiting.close()
        self._ready.clear()
        self._reader.close()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        if self._looking is not None:
            await asyncio.wait([self._looking])
        try:
            await blocking.aside(self._close)
        except Unavailable:
            self._close()

    def _close(self) -> None:
        """The socket too: descriptors that were not received are closed with it."""
        self._sock.close()
        close_all(self._discarded)
        self._discarded = []


async def readable(sock: socket.socket) -> None:
    """Wait until there is something to read, or the other end has left."""
    loop = asyncio.get_running_loop()
    await _until(loop.add_reader, loop.remove_reader, sock)


async def writable(sock: socket.socket) -> None:
    """Wait until there is room to write, or the other end has left."""
    loop = asyncio.get_running_loop()
    await _until(loop.add_writer, loop.remove_writer, sock)


async def _until(add: Callable[..., object], remove: Callable[..., object], sock: socket.socket) -> None:
    """Wait until a socket is ready, once."""
    ready = asyncio.get_running_loop().create_future()
    add(sock.fileno(), _set, ready)
    try:
        await ready
    finally:
        remove(sock.fileno())


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
