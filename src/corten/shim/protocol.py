"""The words of daemon, zygote and shim: messages with descriptors over unix stream sockets.

Used by all three processes, so it is stdlib only. A message is an 8-byte head (length of the body, number of
descriptors, both little-endian u32) and a body of plain values in marshal's format 2, which no Python has changed since
2.5: one call in C, where JSON would cost each shim 0.3 MB of pages that it touches. Its descriptors travel with the
head's first byte (unix(7), SCM_RIGHTS). Both ends belong to Corten and to root, so a malformed message is a bug and
raises ProtocolError.

daemon -> zygote    {id, dir, cgroup} + the shim's end of a control socket and a document that only the launcher reads:
                    namespaces, mappings, resources, and optionally a spec that the coming one will resemble
                    {sockets: [(family, type, protocol, address), ...], sysctls: {interface: {key: value}}} + where to
                    send the sockets, and a network namespace
daemon -> shim      hello start exec attach resize signal sync discard, each with `seq`
shim -> launcher    what to start; see launcher.py
shim -> daemon      {"re": seq, ...} replies; {"ev": "prepared" | "exit" | "exec_exit" | "oom" | "detach", ...}
"""

from __future__ import annotations

import array
import marshal
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

_HEAD = struct.Struct("<II")
_MAX_BODY = 16 << 20  # an OCI spec with a megabyte of environment is large; anything above is a bug
_MAX_FDS = 16
_CHUNK = 1 << 12  # messages are small, and a larger buffer touches more pages of the shim's heap
_FORMAT = 2

# One line a connection may start with; a shim of another version is told apart by it when a daemon is upgraded.
VERSION = 1


class ProtocolError(Exception):
    """The peer sent what no version of this protocol sends."""


def encode(message: Message, fd_count: int = 0) -> bytes:
    """The bytes of one message."""
    body = marshal.dumps(message, _FORMAT)
    return _HEAD.pack(len(body), fd_count) + body


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message on a blocking socket. Raises OSError when the peer is gone."""
    data = memoryview(encode(message, len(fds)))
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sent = sock.sendmsg([data], ancillary)
    if sent < len(data):
        sock.sendall(data[sent:])


def write_document(document: Message) -> int:
    """A descriptor that holds a document, for who only hands it on. The caller closes it. Raises OSError."""
    fd = os.memfd_create("corten", os.MFD_CLOEXEC)
    try:
        data = memoryview(marshal.dumps(document, _FORMAT))
        while data:
            data = data[os.write(fd, data) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_document(fd: int) -> Message:
    """What `write_document` has written, wherever the descriptor's offset is. Raises OSError."""
    document: Message = marshal.loads(os.pread(fd, os.fstat(fd).st_size, 0))  # noqa: S302 - the daemon wrote it
    return document


class Receiver:
    """Splits a stream into messages and keeps the descriptors that came along until their message is taken."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._fds: list[int] = []

    def fill(self) -> bool:
        """Read once. False at end of stream. Raises BlockingIOError on a non-blocking socket without data."""
        space = socket.CMSG_SPACE(_MAX_FDS * 4)
        data, ancillary, _flags, _address = self._sock.recvmsg(_CHUNK, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._fds += memoryview(payload).cast("i")
        if not data:
            return False
        self._buffer += data
        return True

    def take(self) -> tuple[Message, list[int]] | None:
        """The next complete message with its descriptors (now the caller's to close), or None."""
        if len(self._buffer) < _HEAD.size:
            return None
        length, fd_count = _HEAD.unpack_from(self._buffer)
        if length > _MAX_BODY or fd_count > _MAX_FDS:
            raise ProtocolError(f"message of {length} bytes with {fd_count} descriptors")
        end = _HEAD.size + length
        if len(self._buffer) < end:
            return None
        try:
            message = marshal.loads(self._buffer[_HEAD.size : end])  # noqa: S302 - the peer is Corten's and root's
        except (ValueError, EOFError, TypeError) as error:
            raise ProtocolError(f"not a message: {error}") from error
        del self._buffer[:end]
        fds, self._fds = self._fds[:fd_count], self._fds[fd_count:]
        if len(fds) != fd_count or not isinstance(message, dict):
            raise ProtocolError("descriptors or object missing")
        return message, fds

    def close(self) -> None:
        """Close descriptors that no message claimed."""
        for fd in self._fds:
            os.close(fd)
        self._fds = []
