"""POST /corten/fsck: check what is stored, and repair it with `repair=1`. Corten's own; Docker has no such operation.

X-Registry-Config, as for a build, holds the credentials to fetch damaged blobs again with.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from corten.api.registry_auth import registry_config
from corten.api.routing import Request, Response, route, stream_response
from corten.api.services import Services
from corten.errors import CortenError
from corten.lib import codec
from corten.lib.disk_full import words
from corten.spec.corten.fsck import FsckMessage


@route("POST", "/corten/fsck")
async def corten_fsck(request: Request, services: Services) -> Response:
    """A stream of JSON lines (spec/corten/fsck.py), the summary last."""
    messages = services.fsck.run(repair=request.query.flag("repair"), credentials=registry_config(request))
    first = await anext(messages)
    return stream_response(_lines(first, messages))


async def _lines(first: FsckMessage, rest: AsyncGenerator[FsckMessage, None]) -> AsyncIterator[bytes]:
    try:
        yield codec.encode(first) + b"\r\n"
        async for message in rest:
            yield codec.encode(message) + b"\r\n"
    except (CortenError, OSError) as error:
        yield codec.encode(FsckMessage(error=words(error))) + b"\r\n"
    finally:
        await rest.aclose()
