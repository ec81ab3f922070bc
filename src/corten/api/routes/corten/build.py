"""POST /corten/build: a build of directories that the client passes over a unix socket. Corten's own.

With `Connection: Upgrade, Upgrade: corten-build` the connection becomes one of frames (build/local/frames.py), whose
first message has the options: the query of POST /build. Over TCP it does not exist: descriptors are not passed there.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from corten.api.query import Query
from corten.api.routing import Request, Response, hijacked, route
from corten.api.services import Services
from corten.build.local.frames import PATH, UPGRADE
from corten.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from corten.build.local.builds import Values
    from corten.build.options import BuildOptions


@route("POST", PATH)
async def corten_build(request: Request, services: Services) -> Response:
    """Build; what fails is a frame. Returns when the connection has ended."""
    connection = request.connection
    if not connection.trusted:
        raise NotFound("directories cannot be passed over this connection: send the context to /build")
    if request.headers.get("upgrade", "").strip().lower() != UPGRADE:
        raise InvalidArgument(f"the connection must be upgraded to {UPGRADE}")
    await connection.read_body()
    from corten.api.build_options import build_options

    def decode(values: Values) -> BuildOptions:
        return build_options(replace(request, query=Query.of(values)))

    builds = services.builds.local
    builds.check_room()
    taken = await connection.hijack(content_type="application/vnd.corten.build")
    sock = socket.socket(fileno=taken.fd)
    if taken.preface:  # what came with it may have lost its descriptors
        sock.close()
    else:
        await builds.serve(sock, decode)
    return hijacked()
