"""POST /grpc and POST /session: connections that become BuildKit's API. Docker Engine API: operation Session; BuildKit.

On /grpc the client calls; on /session it serves, and the daemon calls. Both are HTTP/2 from the 101 on.
"""

from __future__ import annotations

from corten.api.routing import Request, Response, hijacked, route
from corten.api.services import Services
from corten.errors import InvalidArgument

_UPGRADE = "h2c"
_SESSION = "x-docker-expose-session-"


@route("POST", "/grpc", since="1.31")
async def grpc(request: Request, services: Services) -> Response:
    """Calls of a client, until it hangs up."""
    await _check_upgrade(request)
    buildkit = services.builds.buildkit
    buildkit.check_room()
    taken = await request.connection.hijack(content_type="")
    await buildkit.serve(taken.fd, taken.preface)
    return hijacked()


@route("POST", "/session", since="1.31")
async def session(request: Request, services: Services) -> Response:
    """What a client offers to its builds, until it hangs up."""
    await _check_upgrade(request)
    headers = request.headers
    session_id = headers.get(f"{_SESSION}uuid", "")
    methods = [text.strip() for text in headers.get(f"{_SESSION}grpc-method", "").split(",") if text.strip()]
    buildkit = services.builds.buildkit
    buildkit.check_session(session_id, methods)
    taken = await request.connection.hijack(content_type="")
    await buildkit.session(
        taken.fd,
        taken.preface,
        session_id=session_id,
        name=headers.get(f"{_SESSION}name", ""),
        shared_key=headers.get(f"{_SESSION}sharedkey", ""),
        methods=methods,
    )
    return hijacked()


async def _check_upgrade(request: Request) -> None:
    await request.connection.read_body()
    if request.headers.get("upgrade", "").strip().lower() != _UPGRADE:
        raise InvalidArgument(f"the connection must be upgraded to {_UPGRADE}")
