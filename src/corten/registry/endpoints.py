"""Which hosts answer for a registry's domain, over which schemes and with which checks. Daemon, net threads.

Pure but for name look-ups and the hosts.toml files (`hosts_file`). Source: dockerd's --registry-mirror and
--insecure-registry; docker.io is served by registry-1.docker.io. An insecure registry is tried over HTTPS without
verification first, then over HTTP; 127.0.0.0/8, ::1 and localhost are insecure without being asked.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from corten.errors import InvalidArgument
from corten.registry.endpoint import HUB_HOST, Endpoint
from corten.registry.hosts_file import read_hosts
from corten.spec.reference import DEFAULT_DOMAIN

HUB_INDEX = "https://index.docker.io/v1/"
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """What the daemon's configuration says of registries."""

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    certs_dirs: tuple[str, ...] = ("/etc/corten/certs.d", "/etc/docker/certs.d")
    http_proxy: str = ""  # the proxies that are given here go before those of the environment
    https_proxy: str = ""
    no_proxy: str = ""

    def __post_init__(self) -> None:
        for mirror in self.mirrors:
            parts = urlsplit(mirror)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
                raise InvalidArgument(f'invalid mirror: "{mirror}" must be an http or https URL without query')
            if parts.username is not None:
                raise InvalidArgument("invalid mirror: username/password not allowed in URI")


def endpoints(domain: str, config: RegistryConfig, *, push: bool = False) -> list[Endpoint]:
    """Where to ask for images of `domain`, in order: mirrors, which take no pushes, and the registry itself.

    Raises RegistryError for a hosts.toml that cannot be read.
    """
    found = read_hosts(domain, config.certs_dirs)
    mirrors: list[Endpoint] = []
    if not push:
        if domain == DEFAULT_DOMAIN:
            mirrors += [_configured(mirror) for mirror in config.mirrors]
        mirrors += [_named(mirror, domain) for mirror in found.mirrors]
    given = [_eased(endpoint, config.insecure) for endpoint in (*mirrors, *([found.server] if found.server else []))]
    return given if found.server else [*given, _default(domain, config)]


def upstream(domain: str, config: RegistryConfig) -> Endpoint:
    """The registry itself, for what mirrors are never asked: logins and searches."""
    return endpoints(domain, config, push=True)[0]


def _own_host(domain: str) -> str:
    return HUB_HOST if domain == DEFAULT_DOMAIN else domain


def _named(mirror: Endpoint, domain: str) -> Endpoint:
    """A mirror that knows of which registry; where a file lists the registry's own host, that is none."""
    is_own = mirror.host == _own_host(domain)
    return replace(mirror, mirror=False) if is_own else replace(mirror, namespace=domain)


def _default(domain: str, config: RegistryConfig) -> Endpoint:
    insecure = is_insecure(domain, config.insecure)
    return Endpoint(host=_own_host(domain), schemes=("https", "http") if insecure else ("https",), verify=not insecure)


def _configured(mirror: str) -> Endpoint:
    parts = urlsplit(mirror)
    return Endpoint(host=parts.netloc, schemes=(parts.scheme,), root=f"{parts.path.rstrip('/')}/v2", mirror=True)


def _eased(endpoint: Endpoint, insecure: tuple[str, ...]) -> Endpoint:
    return replace(endpoint, verify=endpoint.verify and not is_insecure(endpoint.host, insecure))


def is_insecure(host: str, insecure: tuple[str, ...]) -> bool:
    """Whether `host[:port]` may be spoken to without verified TLS: loopback, or named or covered by `insecure`."""
    if host in insecure:
        return True
    name = _hostname(host)
    if name in insecure or name == "localhost" or name.endswith(".localhost"):
        return True
    networks = [*_LOOPBACK, *_networks(insecure)]
    addresses = _addresses(name, resolve=len(networks) > len(_LOOPBACK))
    return any(address in network for address in addresses for network in networks)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or host
    except ValueError:
        return host


def _networks(insecure: tuple[str, ...]) -> list[_Network]:
    networks: list[_Network] = []
    for entry in insecure:
        if "/" in entry:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError as error:
                raise InvalidArgument(f"insecure registry {entry} is not valid: {error}") from error
    return networks


def _addresses(name: str, *, resolve: bool) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        return [ipaddress.ip_address(name)]
    except ValueError:
        pass
    if not resolve:
        return []
    try:
        found = socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)
    except OSError:
        return []
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
