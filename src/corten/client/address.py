"""Where the engine listens: parsing of `unix://`, `tcp://` and `ssh://` addresses."""

from __future__ import annotations

from corten.errors import InvalidArgument

DEFAULT_HOST = "unix:///run/corten/corten.sock"
_PORTS = {"tcp": 2375, "http": 2375, "https": 2376}


class Address:
    """One engine's address. `kind` is unix, tcp or ssh; `host` the text as the user knows it."""

    __slots__ = ("host", "kind", "name", "path", "port", "tls")

    def __init__(self, host: str, kind: str, *, path: str = "", name: str = "", port: int = 0) -> None:
        self.host = host
        self.kind = kind
        self.path = path
        self.name = name
        self.port = port
        self.tls: TlsFiles | None = None


class TlsFiles:
    """The files of a TLS connection; `verify` is off for `--tls` alone, as in Docker's client."""

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, *, ca: str, cert: str, key: str, verify: bool) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.verify = verify


def parse_address(text: str) -> Address:
    """Parse what -H and DOCKER_HOST accept; a bare path means a unix socket. Raises InvalidArgument."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        if text.startswith("/"):
            return Address(f"unix://{text}", "unix", path=text)
        scheme, rest = "tcp", text
    if scheme == "unix" and rest:
        return Address(text, "unix", path=rest)
    if scheme == "ssh" and rest:
        return Address(text, "ssh", name=rest)
    if scheme in _PORTS:
        name, port = _split_port(rest.split("/", 1)[0], _PORTS[scheme])
        return Address(text, "tcp", name=name or "127.0.0.1", port=port)
    raise InvalidArgument(f"unable to parse docker host `{text}`")


def _split_port(text: str, default: int) -> tuple[str, int]:
    """`host`, `host:port`, `[v6]:port`."""
    if text.startswith("["):
        name, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    if not port:
        return name, default
    if not (port.isdigit() and 0 < int(port) < 65536):
        raise InvalidArgument(f"invalid port in the engine's address: {text}")
    return name, int(port)
