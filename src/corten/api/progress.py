"""Progress streams over HTTP: one JSON object a message, each ended by CR LF and sent at once. Daemon only.

What fails before the first message is a plain HTTP error; what fails later is the stream's last message, since the
status is out already (Docker's jsonmessage protocol).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from corten.api.routing import Response, stream_response
from corten.errors import CortenError
from corten.lib import codec
from corten.lib.disk_full import words
from corten.spec.docker.progress import ProgressMessage, failure


async def progress_response(messages: AsyncGenerator[ProgressMessage, None]) -> Response:
    """A reply that streams `messages`; waits for the first of them. Raises what the work raises before it."""
    try:
        first = await anext(messages)
    except StopAsyncIteration:
        return stream_response(_nothing())
    return stream_response(_encoded(first, messages))


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


async def _encoded(first: ProgressMessage, rest: AsyncGenerator[ProgressMessage, None]) -> AsyncIterator[bytes]:
    try:
        yield _line(first)
        async for message in rest:
            yield _line(message)
    except (CortenError, OSError) as error:
        yield _line(failure(words(error)))
    finally:
        await rest.aclose()


def _line(message: ProgressMessage) -> bytes:
    return codec.encode(message) + b"\r\n"
