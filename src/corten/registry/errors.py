"""What a registry, or the way to it, can answer with. Pure; daemon.

Source: OCI distribution-spec ("Error Codes"). The texts are those Docker shows: `<code in words>: <message>`. They are
no kind of the closed set but its base, which is answered with 500 as by Docker's engine: a client that got 401 for a
pull would ask its user for a password.
"""

from __future__ import annotations

from corten.errors import CortenError, DataLoss

LONGEST_PAUSE_S = 60.0


class RegistryError(CortenError):
    """A request to a registry failed."""

    code = "registry-error"


class RegistryUnreachable(RegistryError):
    """No answer: name resolution, connection, TLS or the wait for bytes failed.

    `transient` ones are worth a retry; where a peer `speaks_tls`, it is of no use to try without.
    """

    code = "registry-unreachable"

    def __init__(self, message: str, *, transient: bool = False, speaks_tls: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.transient = transient
        self.speaks_tls = speaks_tls


class RegistryRefused(RegistryError):
    """An HTTP answer that is an error; `reason` is the specification's code, such as MANIFEST_UNKNOWN, or empty."""

    code = "registry-refused"

    def __init__(self, message: str, *, status: int, reason: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s

    @property
    def transient(self) -> bool:
        """Whether the same request may work in a moment; a registry that asks for a longer pause is not waited for."""
        return (self.retry_after_s or 0) <= LONGEST_PAUSE_S and self.status in {408, 429, 500, 502, 503, 504}


class LoginRequired(RegistryRefused):
    """The registry, or its token server, wants other credentials than it got."""

    code = "login-required"


class CorruptContent(DataLoss):
    """The registry sent other bytes than those asked for."""

    code = "corrupt-content"


def refused(status: int, reason: str, message: str, retry_after_s: float | None = None) -> RegistryRefused:
    """The error for an HTTP status and the first of the errors in its body, worded as Docker words it."""
    if not reason:
        reason = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}.get(status, "")
    default = {
        "UNAUTHORIZED": "authentication required",
        "DENIED": "requested access to the resource is denied",
        "TOOMANYREQUESTS": "too many requests",
    }.get(reason, "")
    words = reason.lower().replace("_", " ")
    message = message or default or words
    text = f"{words}: {message}" if words else message or f"received unexpected HTTP status: {status}"
    kind = LoginRequired if status == 401 else RegistryRefused
    return kind(text, status=status, reason=reason, retry_after_s=retry_after_s)
