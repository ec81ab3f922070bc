"""The client's end of a session as the rest of this package sees it: calls and streams. Daemon's loop.

The tests' clients fit these protocols as the real one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Protocol, TypeVar

from corten.build.buildkit.sessions import Session
from corten.lib.protobuf.message import Message

R = TypeVar("R", bound=Message)


class BytesMessage(Message):
    """moby.buildkit.v1.BytesMessage, and those of its kind."""

    data: Annotated[bytes, 1] = b""


class Stream(Protocol):
    """One call with messages both ways; leaving its block before its end breaks it off."""

    async def send_bytes(self, message: bytes, /) -> None:
        """One message. Waits while the client does not read. Raises GrpcError."""

    async def receive_bytes(self) -> bytes | None:
        """The next message; None at a good end. Raises GrpcError at a bad one."""

    async def end(self) -> None:
        """No more messages from here."""


class Client(Protocol):
    """One session."""

    @property
    def shared_key(self) -> str:
        """What the client's directory is known by, also in later sessions; empty when it does not say."""

    def offers(self, method: str) -> bool:
        """Whether the client has a method (`/package.Service/Method`)."""

    async def call(self, method: str, request: Message, kind: type[R]) -> R:
        """One message for another. Raises GrpcError, Malformed."""

    def stream(self, method: str, metadata: Sequence[tuple[str, str]] = ()) -> AbstractAsyncContextManager[Stream]:
        """A call with messages both ways. Raises GrpcError."""


class SessionClient:
    """The client of a session that is open."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def shared_key(self) -> str:
        """As the client said."""
        return self._session.shared_key

    def offers(self, method: str) -> bool:
        """As the client said."""
        return self._session.offers(method)

    async def call(self, method: str, request: Message, kind: type[R]) -> R:
        """Over the session's connection."""
        return await self._session.channel.unary(method, request, kind)

    def stream(self, method: str, metadata: Sequence[tuple[str, str]] = ()) -> AbstractAsyncContextManager[Stream]:
        """Over the session's connection."""
        return self._session.channel.stream(method, metadata=metadata)
