"""The client's agent as asyncssh asks it: for its keys, and for signatures. Blocking; net threads.

Source: draft-miller-ssh-agent. The answers are the client's, and bounded.
"""

from __future__ import annotations

import socket
import time

from corten.build.git.error import GitError
from corten.build.local import agent_messages as wire


class Agent:
    """On a connection that is somebody else's to close; an answer may take `timeout_s`, to its last byte."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._sock = sock
        self._timeout_s = timeout_s
        self._until = 0.0

    def identities(self) -> list[tuple[bytes, bytes, bytes]]:
        """Algorithm, public key, comment. Raises GitError."""
        answer = self._ask(bytes([wire.REQUEST_IDENTITIES]))
        try:
            return [(wire.Fields(blob).string(), blob, comment) for blob, comment in wire.parse_identities(answer)]
        except wire.BadMessage as error:
            raise GitError(f"the client's ssh agent: {error}") from None

    async def sign(self, blob: bytes, data: bytes, flags: int) -> bytes:
        """A signature. Raises GitError."""
        try:
            return wire.parse_signature(self._ask(wire.sign_request(blob, data, flags)))
        except wire.BadMessage as error:
            raise GitError(f"the client's ssh agent: {error}") from None

    def _ask(self, message: bytes) -> bytes:
        self._until = time.monotonic() + self._timeout_s
        self._sock.settimeout(self._timeout_s)
        try:
            self._sock.sendall(wire.framed(message))
            return self._read(wire.length_of(self._read(4)))
        except OSError as error:
            raise GitError(f"the client's ssh agent: {(error.strerror or str(error)).lower()}") from error
        except wire.BadMessage as error:
            raise GitError(f"the client's ssh agent: {error}") from None

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            left_s = self._until - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(left_s)
            data = self._sock.recv(size - len(found))
            if not data:
                raise ConnectionResetError("it hung up")
            found += data
        return bytes(found)
