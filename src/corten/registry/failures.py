"""What an exception of the HTTP client means, in the words of Docker's engine. Pure; net threads.

People and scripts search for those words, so they are Go's (`dial tcp`, `x509`), not Python's.
"""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from urllib3 import exceptions

from corten.registry.errors import RegistryUnreachable

_DIAL_WORDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ENETUNREACH: "network is unreachable",
    errno.EHOSTUNREACH: "no route to host",
}
_CERTIFICATE_WORDS = {
    9: "certificate has expired or is not yet valid",
    10: "certificate has expired or is not yet valid",
    62: "certificate is not valid for {host}",
    64: "certificate is not valid for {host}",
}
_TLS = "tls: "
_PLAIN_HTTP = ("wrong version number", "record layer failure", "unknown protocol", "http request")


def translate(method: str, url: str, error: BaseException) -> RegistryUnreachable:
    """The failure of a request to `url`; transient when the same request may work in a moment."""
    reason, transient = _connect_reason(url, error) or _exchange_reason(error)
    text = f'{method.capitalize()} "{url}": {reason}'
    return RegistryUnreachable(text, transient=transient, speaks_tls=reason.startswith(_TLS))


def is_stale(error: BaseException) -> bool:
    """Whether the peer had closed the connection before it answered anything."""
    return any(isinstance(cause, ConnectionError) for cause in _causes(error))


def _connect_reason(url: str, error: BaseException) -> tuple[str, bool] | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = _CERTIFICATE_WORDS.get(cause.verify_code, "certificate signed by unknown authority")
            return f"{_TLS}failed to verify certificate: x509: {words.format(host=host)}", False
    if isinstance(error, exceptions.ProxyError):
        return f"proxyconnect tcp: {error.original_error}", False
    if isinstance(error, exceptions.NameResolutionError):
        return f"dial tcp: lookup {host}: no such host", False
    if isinstance(error, exceptions.NewConnectionError):
        code = next((c.errno for c in _causes(error) if isinstance(c, OSError) and c.errno), 0)
        return f"dial tcp {address}: connect: {_DIAL_WORDS.get(code) or os.strerror(code).lower()}", False
    if isinstance(error, exceptions.ConnectTimeoutError):
        return f"dial tcp {address}: i/o timeout", False
    if isinstance(error, (exceptions.SSLError, ssl.SSLError)):
        text = str(error).lower()
        plain = any(words in text for words in _PLAIN_HTTP)
        return ("http: server gave HTTP response to HTTPS client" if plain else f"{_TLS}{_alert(error)}"), False
    return None


def _alert(error: BaseException) -> str:
    """What OpenSSL says, without the names of its own code."""
    cause = next((c for c in _causes(error) if isinstance(c, ssl.SSLError) and c.reason), None)
    return str(error) if cause is None else cause.reason.lower().replace("_", " ")


def _exchange_reason(error: BaseException) -> tuple[str, bool]:
    if isinstance(error, (exceptions.ReadTimeoutError, TimeoutError)):
        return "net/http: request canceled (Client.Timeout exceeded while awaiting headers or body)", True
    closed = any(type(cause).__name__ == "RemoteDisconnected" for cause in _causes(error))
    reset = any(isinstance(cause, ConnectionError) for cause in _causes(error))
    if reset and not closed:
        return "read: connection reset by peer", True
    if closed or isinstance(error, (exceptions.IncompleteRead, exceptions.ProtocolError)):
        return "unexpected EOF", True
    return str(error) or type(error).__name__, False


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what it wraps: urllib3 hides the cause in `reason`, in its arguments, or in the chain."""
    current: BaseException | None = error
    for _ in range(8):
        if current is None:
            return
        yield current
        inner = getattr(current, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((value for value in current.args if isinstance(value, BaseException)), None)
        current = inner or current.__cause__ or current.__context__
