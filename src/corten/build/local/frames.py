"""What both ends of a local build's connection write: frames of a JSON message, bytes, and descriptors. Pure; stdlib.

    4 bytes  length of the message, big endian
    4 bytes  length of the bytes behind it
    1 byte   how many descriptors came with the frame's first byte (unix(7), SCM_RIGHTS)

The client begins, after 101, with `{"dockerfile": true}` and `{"ignore": true}` and their bytes, when these are not in
the context, and `{"build": {"query": {...}, "contexts": ["", "name"]}}` with a directory's descriptor for each context.
The engine sends `{"progress": ...}` (a message of Docker's stream), `{"output": true, "number": N}` with bytes of
a result, `{"ask": N, "secret"|"agent"|"credentials": ...}`, and `{"end": true}` or `{"error": text}` last. Each
question is answered by `{"answer": N, "found": true}` with the secret's bytes, a connected socket's descriptor, or
`"auth"`.
"""

from __future__ import annotations

import os

from corten.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HEAD_SIZE = 9
UPGRADE = "corten-build"
PATH = "/corten/build"
DESCRIPTORS_LIMIT = 64
MESSAGE_LIMIT = 16 << 20
DATA_LIMIT = 8 << 20


class BadFrame(InvalidArgument):
    """The other end does not speak this protocol, or its descriptors did not come (a proxy between the two), or are of
    no use here: a client sends a tar then."""

    code = "bad-frame"


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


class Frame:
    """One frame; its descriptors are the taker's to close."""

    __slots__ = ("_discard", "data", "fds", "message")

    def __init__(
        self, message: bytes, data: bytes, fds: list[int], discard: Callable[[list[int]], None] = close_all
    ) -> None:
        self.message = message
        self.data = data
        self.fds = fds
        self._discard = discard

    def close(self) -> None:
        """Discard what nobody took."""
        fds, self.fds = self.fds, []
        self._discard(fds)


def frame(message: bytes, data: bytes = b"", descriptors: int = 0) -> bytes:
    """A frame's bytes. Raises BadFrame for one that the other end would not take."""
    if len(message) > MESSAGE_LIMIT or len(data) > DATA_LIMIT or descriptors > DESCRIPTORS_LIMIT:
        raise BadFrame(
            f"a message of {len(message)} bytes, {len(data)} of data and {descriptors} descriptors is too large"
        )
    head = b"".join((len(message).to_bytes(4, "big"), len(data).to_bytes(4, "big"), descriptors.to_bytes(1, "big")))
    return head + message + data


class FrameReader:
    """Takes what is received, gives whole frames; holds descriptors until their frame is whole. `discard` gets those
    that nobody takes."""

    def __init__(self, discard: Callable[[list[int]], None] = close_all) -> None:
        self._discard = discard
        self._buffer = bytearray()
        self._fds: list[int] = []

    def feed(self, data: bytes, fds: Iterable[int] = ()) -> None:
        """Take the next bytes, and the descriptors that came with them. Raises BadFrame for too many of these."""
        self._buffer += data
        self._fds += fds
        if len(self._fds) > 2 * DESCRIPTORS_LIMIT:
            raise BadFrame("too many descriptors were sent")

    def frames(self) -> Iterator[Frame]:
        """The frames that are whole. Raises BadFrame."""
        while len(self._buffer) >= HEAD_SIZE:
            message, data = (int.from_bytes(self._buffer[at : at + 4], "big") for at in (0, 4))
            descriptors = self._buffer[8]
            if message > MESSAGE_LIMIT or data > DATA_LIMIT or descriptors > DESCRIPTORS_LIMIT:
                raise BadFrame(f"a message of {message} bytes, {data} of data and {descriptors} descriptors")
            if descriptors > len(self._fds):
                raise BadFrame("descriptors were lost on the way")
            end = HEAD_SIZE + message + data
            if len(self._buffer) < end:
                return
            fds, self._fds = self._fds[:descriptors], self._fds[descriptors:]
            body = bytes(memoryview(self._buffer)[HEAD_SIZE:end])
            del self._buffer[:end]
            yield Frame(body[:message], body[message:], fds, self._discard)

    @property
    def waiting(self) -> int:
        """Bytes of a frame that is not whole."""
        return len(self._buffer)

    def close(self) -> None:
        """Discard the descriptors of frames that never became whole."""
        fds, self._fds = self._fds, []
        self._discard(fds)
