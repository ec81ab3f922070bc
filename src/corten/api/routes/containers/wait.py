"""POST /containers/{id}/wait. Docker Engine API, operation ContainerWait.

The waiter is registered before this handler returns, and the server sends the headers at once: `docker run` starts the
container when it has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from msgspec import UNSET

from corten.api.routing import Request, Response, route, stream_response
from corten.api.services import Services
from corten.engine.containers.live import Ended
from corten.lib import codec
from corten.spec.docker.container import WaitError, WaitResponse


@route("POST", "/containers/{id}/wait")
async def container_wait(request: Request, services: Services) -> Response:
    """One JSON object, once the condition holds."""
    ended = services.containers.wait(request.params["id"], request.query.text("condition"))
    return stream_response(_answer(ended))


async def _answer(ended: asyncio.Future[Ended]) -> AsyncIterator[bytes]:
    try:
        result = await ended
    finally:
        ended.cancel()  # a client that went away leaves no waiter behind
    error = WaitError(message=result.error) if result.error else UNSET
    yield codec.encode(WaitResponse(status_code=result.code, error=error)) + b"\n"
