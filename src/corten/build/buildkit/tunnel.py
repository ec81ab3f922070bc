"""Control.Session: a client's session inside a call, for clients that have no connection of its own. Daemon's loop.

Messages both ways are the bytes of a connection whose roles are those of POST /session; what its headers say there is
the call's metadata. Source: BuildKit's session/grpchijack.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from corten.build.session.client import BytesMessage
from corten.engine.images.settled import settled
from corten.lib.grpc.server import Call

_PIECE = 32 << 10


async def tunnelled(call: Call, serve: Callable[[int], Awaitable[None]]) -> None:
    """Have `serve` a socket whose other end is the caller, until either hangs up."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        call.begin()
        works = [
            asyncio.ensure_future(serve(theirs.detach())),
            asyncio.ensure_future(_said(call, ours)),
            asyncio.ensure_future(_heard(call, ours)),
        ]
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for work in works:
                work.cancel()
            await settled(works)  # before the socket's number is another one's
            for work in works:
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    work.result()


async def _said(call: Call, sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while (message := await call.receive(BytesMessage)) is not None:
        await loop.sock_sendall(sock, message.data)


async def _heard(call: Call, sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(sock, _PIECE):
        await call.send(BytesMessage(data=data))
