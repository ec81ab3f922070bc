"""GET /containers/{id}/stats. Docker Engine API, operation ContainerStats."""

from __future__ import annotations

from collections.abc import AsyncIterator

from corten.api.routing import Request, Response, json_response, route, stream_response
from corten.api.services import Services
from corten.lib import codec
from corten.spec.docker.stats import ContainerStats


@route("GET", "/containers/{id}/stats")
async def container_stats(request: Request, services: Services) -> Response:
    """A sample a second, or one."""
    if request.query.flag("stream", default=True):
        return stream_response(_lines(services.stats.stream(request.params["id"])))
    return json_response(await services.stats.once(request.params["id"], one_shot=request.query.flag("one-shot")))


async def _lines(samples: AsyncIterator[ContainerStats]) -> AsyncIterator[bytes]:
    async for sample in samples:
        yield codec.encode(sample) + b"\n"
