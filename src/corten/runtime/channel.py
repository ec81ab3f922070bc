"""The socket between a parent (shim, command line) and the child that becomes the container's process. Stdlib only.

Parent to child: one `marshal` document with descriptors (both ends are one interpreter, and marshal is the fastest
codec it has), then single words. Child to parent: JSON, since the child may by then share a pid namespace with
strangers. A frame is an 8-byte head (length, number of descriptors) and the body; descriptors travel with the head
(unix(7), SCM_RIGHTS), and what does not fit with single bytes between the two. Every wait is bounded.
"""

from __future__ import annotations

import array
import fcntl
import json
import marshal
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

_HEAD = struct.Struct("<II")
_MAX_BODY = 32 << 20
_MAX_FDS = 253  # SCM_MAX_FD of the kernel, for one sendmsg
_MOST_FDS = 4096  # a container has a descriptor for each bind mount
_MORE = b"+"


class ChannelClosed(Exception):
    """The other end is gone."""


class Channel:
    """One end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two connected ends, close-on-exec."""
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(left), cls(right)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self.sock.fileno()

    def move_above(self, limit: int) -> None:
        """Give the socket a descriptor of at least `limit`; the old one is closed."""
        if self.fileno() < limit:
            fd = fcntl.fcntl(self.sock, fcntl.F_DUPFD_CLOEXEC, limit)
            self.sock.close()
            self.sock = socket.socket(fileno=fd)

    def close(self) -> None:
        """Close this end."""
        self.sock.close()

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Child to parent. Raises OSError when the parent is gone."""
        self._send(json.dumps(message).encode("utf-8", "surrogatepass"), fds)

    def receive(self, timeout_s: float | None) -> tuple[dict[str, Any], list[int]]:
        """The next message of the child. Raises ChannelClosed, TimeoutError."""
        self.sock.settimeout(timeout_s)
        body, fds = self._receive()
        message = json.loads(body)
        if not isinstance(message, dict):
            raise ChannelClosed("the child sent no object")
        return message, fds

    def send_request(self, request: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Parent to child: a document of plain Python values. Raises OSError when the child is gone."""
        self._send(marshal.dumps(request), fds)

    def receive_request(self) -> tuple[dict[str, Any], list[int]]:
        """The parent's document; waits until it comes. Raises ChannelClosed when the parent ends first."""
        body, fds = self._receive()
        request: dict[str, Any] = marshal.loads(body)  # noqa: S302 - from our own parent, before any stranger is near
        return request, fds

    def _send(self, body: bytes, fds: Sequence[int]) -> None:
        if len(fds) > _MOST_FDS:
            raise ValueError(f"{len(fds)} descriptors (mounts and others) are more than the {_MOST_FDS} that fit")
        head = _HEAD.pack(len(body), len(fds))
        if len(fds) <= _MAX_FDS:
            self._send_with(head + body, fds)
            return
        self._send_with(head, fds[:_MAX_FDS])
        for at in range(_MAX_FDS, len(fds), _MAX_FDS):
            self._send_with(_MORE, fds[at : at + _MAX_FDS])
        self.sock.sendall(body)

    def _send_with(self, data: bytes, fds: Sequence[int]) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], ancillary)
        if sent < len(data):
            self.sock.sendall(memoryview(data)[sent:])

    def _receive(self) -> tuple[bytes, list[int]]:
        fds: list[int] = []
        try:
            data = self._receive_with(_HEAD.size, fds)
            length, count = _HEAD.unpack(data)
            for _ in range(_MAX_FDS, min(count, _MOST_FDS), _MAX_FDS):
                self._receive_with(len(_MORE), fds)
            if length > _MAX_BODY or count != len(fds):
                raise ChannelClosed(f"a message of {length} bytes with {count} descriptors")
            return self._exactly(length), fds
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, ConnectionError):
                raise ChannelClosed("the other end is gone") from error
            raise

    def _receive_with(self, size: int, fds: list[int]) -> bytes:
        """So many bytes; what comes with them is added to `fds`."""
        data, ancillary, _flags, _address = self.sock.recvmsg(
            size, socket.CMSG_SPACE(_MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC | socket.MSG_WAITALL
        )
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                fds.extend(numbers)
        if len(data) < size:
            raise ChannelClosed("the other end is gone")
        return data

    def _exactly(self, length: int) -> bytes:
        chunks = []
        while length:
            chunk = self.sock.recv(min(length, 1 << 20))
            if not chunk:
                raise ChannelClosed("the other end is gone")
            chunks.append(chunk)
            length -= len(chunk)
        return b"".join(chunks)
