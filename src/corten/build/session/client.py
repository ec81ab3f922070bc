"""The client's end of a session as the rest of this package sees it: calls and streams. Pure; daemon.

The transport (gRPC on the connection of POST /session, with the roles reversed) fits these; so do the tests' clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from corten.errors import CortenError

UNKNOWN, NOT_FOUND, UNIMPLEMENTED = 2, 5, 12  # gRPC's status codes


class CallFailed(CortenError):
    """The client has refused or broken off a call; `status` is gRPC's code. The message is the client's."""

    code = "session-call-failed"

    def __init__(self, message: str, status: int = UNKNOWN) -> None:
        super().__init__(message)
        self.status = status


class Stream(Protocol):
    """One call with messages both ways; leaving its block without an end breaks it off."""

    async def send(self, data: bytes) -> None:
        """One message. Waits while the client does not read. Raises CallFailed."""

    async def receive(self) -> bytes | None:
        """The next message; None at a good end. Raises CallFailed at a bad one."""

    async def end(self) -> None:
        """No more messages from here."""


class Client(Protocol):
    """One session."""

    @property
    def shared_key(self) -> str:
        """What the client's directory is known by, also in later sessions; empty when it does not say."""

    def offers(self, method: str) -> bool:
        """Whether the client has a method (`/package.Service/Method`)."""

    async def call(self, method: str, request: bytes) -> bytes:
        """One message for another. Raises CallFailed."""

    def stream(self, method: str, metadata: Sequence[tuple[str, str]]) -> AbstractAsyncContextManager[Stream]:
        """A call with messages both ways. Raises CallFailed."""
