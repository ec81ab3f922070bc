"""The engine's end of a local build's connection. Daemon's loop; never blocks."""

from __future__ import annotations

import array
import asyncio
import socket
from collections import deque
from collections.abc import Callable

from corten.build.local.frames import DESCRIPTORS_LIMIT, BadFrame, Frame, FrameReader, frame

_CHUNK = 256 << 10
_SPACE = socket.CMSG_SPACE(4 * DESCRIPTORS_LIMIT)


class Channel:
    """Frames over a connected unix socket, which is its own to close."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reader = FrameReader()
        self._ready: deque[Frame] = deque()
        self._sending = asyncio.Lock()

    async def receive(self) -> Frame | None:
        """The next frame; None when the client has left. Raises BadFrame."""
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
            if flags & socket.MSG_CTRUNC:
                raise BadFrame("too many descriptors were sent")
            if not data:
                return None
            self._ready.extend(self._reader.frames())
        return self._ready.popleft()

    async def send(self, message: bytes, data: bytes = b"") -> None:
        """Send a frame. Raises OSError when the client has left."""
        view = memoryview(frame(message, data))
        async with self._sending:
            while view:
                try:
                    view = view[self._sock.send(view, socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    await writable(self._sock)

    def close(self) -> None:
        """Hang up; descriptors that nobody took are closed."""
        for waiting in self._ready:
            waiting.close()
        self._ready.clear()
        self._reader.close()
        self._sock.close()


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
