"""The headers of calls: deadlines and metadata. Pure; daemon. Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from corten.lib.grpc.status import Code, GrpcError

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_OF_THE_PROTOCOL = frozenset({"te", "content-type", "user-agent"})
Headers = list[tuple[str, str]]


class Metadata:
    """What a caller says beside its message; names are lower-case, and each may have several values."""

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in headers:
            if not name.startswith((":", "grpc-")) and name not in _OF_THE_PROTOCOL:
                self._values.setdefault(name, []).append(value)

    def first(self, name: str, default: str = "") -> str:
        """The first value of that name."""
        return next(iter(self._values.get(name, ())), default)

    def all(self, name: str) -> Sequence[str]:
        """All values of that name, in order."""
        return tuple(self._values.get(name, ()))


def timeout_s(text: str) -> float | None:
    """The seconds of a `grpc-timeout`; None without one. Raises GrpcError."""
    if not text:
        return None
    number, unit = text[:-1], text[-1]
    if unit not in _UNITS or not (number.isascii() and number.isdigit()) or len(number) > 8:
        raise GrpcError(Code.INVALID_ARGUMENT, f"malformed grpc-timeout: {text[:16]!r}")
    return int(number) * _UNITS[unit]


def timeout_text(seconds: float) -> str:
    """A `grpc-timeout`."""
    thousandths = max(1, int(seconds * 1000))
    return f"{thousandths}m" if thousandths < 10**8 else f"{min(int(seconds), 10**8 - 1)}S"


def request_headers(path: str, metadata: Iterable[tuple[str, str]] = (), timeout: float | None = None) -> Headers:
    """What begins a call."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "corten"),
    ]
    if timeout is not None:
        headers.append(("grpc-timeout", timeout_text(timeout)))
    return [*headers, *metadata]
