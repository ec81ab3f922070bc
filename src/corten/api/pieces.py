"""Writing a response's stream: pieces that are there at once go together, each other one at once. Daemon's loop.

A message of a build or a line of a log is some dozen bytes, and often comes with others: one system call, and one
waking of the client, is enough for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

_TOGETHER = 64 << 10  # bytes


async def write_stream(
    write: Callable[[bytes], None],
    keep_up: Callable[[], Awaitable[None]],
    start: bytes,
    stream: AsyncIterator[bytes],
    *,
    chunked: bool,
) -> None:
    """Write `start`, the pieces of `stream` and, in chunks, its end (RFC 9112 section 7.1); `keep_up` waits for a slow
    reader. Raises what these two raise; what has come before is written then."""
    ready = bytearray(start)

    def flush() -> None:
        if ready:
            write(bytes(ready))
            ready.clear()

    later = asyncio.get_running_loop().call_soon  # when nothing more is there to go on with
    later(flush)
    try:
        async for piece in stream:
            if not piece:
                continue
            if not ready:
                later(flush)
            ready += b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
            if len(ready) >= _TOGETHER:
                flush()
            await keep_up()
        ready += b"0\r\n\r\n" if chunked else b""
    finally:
        flush()
