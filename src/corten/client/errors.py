"""What can go wrong between the client and an engine."""

from __future__ import annotations

from corten.errors import CortenError, Unavailable


class ApiError(CortenError):
    """The engine answered with an error; `status` is the HTTP status, `message` the engine's text."""

    code = "api-error"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineUnreachable(Unavailable):
    """Nothing answers at the address."""

    code = "engine-unreachable"


class ConnectionBroken(Unavailable):
    """The engine closed the connection in the middle of an answer, or sent something that is not HTTP."""

    code = "connection-broken"
