"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read as Docker's engine reads them. Pure.

Daemon. Source: the rules of Go's net/http: NO_PROXY holds hosts (with their subdomains), `.domain` (its subdomains
alone), addresses, networks, each perhaps with a port, or `*`; loopback is never reached through a proxy.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from corten.registry.errors import RegistryError

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's URL without credentials, and the header that carries them."""

    url: str
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies of one daemon: URLs by scheme, and who is reached without."""

    http: str = field(default="", repr=False)
    https: str = field(default="", repr=False)
    without: str = ""

    @classmethod
    def of(cls, environ: Mapping[str, str], *, http: str = "", https: str = "", without: str = "") -> Proxies:
        """What is given, and else what the environment says."""

        def found(name: str) -> str:
            return environ.get(name.upper()) or environ.get(name) or ""

        every = found("all_proxy")
        return cls(
            http or found("http_proxy") or every, https or found("https_proxy") or every, without or found("no_proxy")
        )

    def proxy_for(self, scheme: str, netloc: str) -> Proxy | None:
        """The proxy on the way to `netloc`, None for none. Raises RegistryError for one that cannot be used."""
        text = self.https if scheme == "https" else self.http
        parts = urlsplit(f"//{netloc}")
        if not text or not parts.hostname or _bypasses(parts.hostname, parts.port or _PORTS[scheme], self.without):
            return None
        return _parse(text)


def _parse(text: str) -> Proxy:
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise RegistryError(
            f'proxyconnect tcp: unsupported protocol scheme "{parts.scheme}"', hint="use an http or https proxy"
        )
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", authorization)


def _bypasses(host: str, port: int, without: str) -> bool:
    host = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry.strip().lower(), host, address, port) for entry in without.split(",") if entry.strip())


def _matches(entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit():
        return int(wanted[:6]) == port and _matches(name, host, address, port)
    suffix = entry.removeprefix("*")
    if suffix.startswith("."):
        return host.endswith(suffix)
    return host == suffix or host.endswith(f".{suffix}")
