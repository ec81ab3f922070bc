"""What the client of a local build offers, asked for over its connection when a step needs it. Daemon's loop.

Secrets are in memory only, on their way to the step; an ssh agent is a socket that the client has connected to it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from corten.build.face import AgentStream
from corten.build.local.channel import Channel, readable, writable
from corten.build.local.frames import Frame
from corten.errors import Cancelled, InvalidArgument
from corten.lib import codec
from corten.registry.credentials import ANONYMOUS, Credentials, from_auth_config
from corten.spec.docker.image import AuthConfig

_SECRET_LIMIT = 500 << 10  # BuildKit's
_CHUNK = 32 << 10


class Answer(msgspec.Struct, kw_only=True):
    """The client's answer to a question, by its number."""

    answer: int
    found: bool = False
    auth: AuthConfig | None = None
    error: str = ""


class LocalOffers:
    """Asks the client of one build. Each question raises InvalidArgument for an answer that cannot be, Cancelled when
    the client leaves."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: dict[int, asyncio.Future[tuple[Answer, Frame]]] = {}
        self._number = 0

    async def secret(self, name: str) -> bytes | None:
        """A secret's value."""
        answer, frame = await self._ask(secret=name)
        frame.close()
        if len(frame.data) > _SECRET_LIMIT:
            raise InvalidArgument(f"secret {name}: more than {_SECRET_LIMIT >> 10} KiB")
        return frame.data if answer.found else None

    async def agent(self, name: str) -> AgentStream | None:
        """A connection to an ssh agent."""
        answer, frame = await self._ask(agent=name)
        if not answer.found:
            frame.close()
            return None
        return _AgentSocket(_connected(frame))

    async def credentials(self, keys: Sequence[str]) -> Credentials:
        """Those for a registry."""
        answer, frame = await self._ask(credentials=list(keys))
        frame.close()
        return ANONYMOUS if answer.auth is None else from_auth_config(answer.auth)

    async def _ask(self, **question: Any) -> tuple[Answer, Frame]:
        self._number += 1
        number = self._number
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await self._channel.send(codec.encode({"ask": number, **question}))
            answer, frame = await waiting
        except BaseException as error:
            if waiting.done() and not waiting.cancelled():  # it came, and nobody takes it
                waiting.result()[1].close()
            if isinstance(error, OSError):
                raise Cancelled("the client closed the connection") from error
            raise
        finally:
            del self._waiting[number]
        if answer.error:
            frame.close()
            raise InvalidArgument(answer.error)
        return answer, frame

    def take(self, frame: Frame) -> None:
        """What the client sent meanwhile. Raises InvalidArgument for anything but an answer to a question."""
        try:
            answer = codec.decode(Answer, frame.message)
            waiting = self._waiting.get(answer.answer)
            if waiting is None or waiting.done():
                raise InvalidArgument("the client answered what nobody asked")
        except BaseException:
            frame.close()
            raise
        waiting.set_result((answer, frame))


def _connected(frame: Frame) -> socket.socket:
    """The socket that a client passed. Raises InvalidArgument when it is anything else, or several."""
    refusal = InvalidArgument("the client sent no connection to an ssh agent")
    try:
        (fd,) = frame.fds
        sock = socket.socket(fileno=fd)
    except (ValueError, OSError):  # several, or no socket
        frame.close()
        raise refusal from None
    if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM:
        frame.fds = []
        return sock
    sock.detach()
    frame.close()
    raise refusal


class _AgentSocket:
    """A socket that the client has connected to its agent. The client has it still, and may make it a blocking one
    again: each call says by itself that it must not wait."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def read(self) -> bytes:
        """See AgentStream."""
        while True:
            try:
                return self._sock.recv(_CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                await readable(self._sock)
            except OSError:
                return b""

    async def write(self, data: bytes) -> None:
        """See AgentStream."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                await writable(self._sock)
            except OSError:
                return

    async def close(self) -> None:
        """See AgentStream."""
        self._sock.close()
