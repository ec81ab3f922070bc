"""The content of a container's /etc/hosts, /etc/hostname and /etc/resolv.conf. Pure; daemon only.

Docker's rules: hosts(5) with the loopback lines, the container's own addresses and what was added; resolv.conf(5) from
the host's, without name servers on loopback addresses, which a container cannot reach. Every value is checked: a name
with a newline would write lines of its own.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from corten.errors import InvalidArgument

EMBEDDED_SERVER = "127.0.0.11"
FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")
FALLBACK_SERVERS6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")
_LOOPBACK4 = "127.0.0.1\tlocalhost\n"
_LOOPBACK6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)
_HOST_NAME = re.compile(r"[^\s#\x00-\x1f\x7f]{1,253}\Z")
_OPTION = re.compile(r"[A-Za-z0-9_:.\-]{1,128}\Z")
_MAX_RESOLV_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvConf:
    """The parts of a resolv.conf that count."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """As a file."""
        lines = [f"nameserver {server}" for server in self.servers]
        if self.search:
            lines.append("search " + " ".join(self.search))
        if self.options:
            lines.append("options " + " ".join(self.options))
        return "".join(f"{line}\n" for line in lines)


def check_host_name(name: str) -> str:
    """A name that may stand in a hosts file. Raises InvalidArgument."""
    if not _HOST_NAME.match(name):
        raise InvalidArgument(f"invalid host name {name[:64]!r}")
    return name


def parse_extra_host(text: str) -> tuple[str, str]:
    """`name:ip`, `name=ip` or `name:host-gateway` as (name, address). Raises InvalidArgument with Docker's text."""
    match = re.match(r"([^:=]+)[:=](.+)\Z", text, re.DOTALL)
    if match is None:
        raise InvalidArgument(f'bad format for add-host: "{text[:128]}"')
    name, address = check_host_name(match[1]), match[2].strip()
    if address != "host-gateway":
        address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidArgument(f'invalid IP address in add-host: "{address[:64]}"') from None
    return name, address


def extra_hosts(specs: Iterable[str], host_gateways: Sequence[str]) -> list[tuple[str, str]]:
    """(address, name) of `--add-host` values. Raises InvalidArgument when host-gateway is not known."""
    found = []
    for spec in specs:
        name, address = parse_extra_host(spec)
        if address == "host-gateway":
            if not host_gateways:
                raise InvalidArgument("unable to derive the IP value for host-gateway")
            found += [(gateway, name) for gateway in host_gateways]
        else:
            found.append((address, name))
    return found


def own_names(hostname: str, domain: str) -> str:
    """What a container calls itself in hosts. Raises InvalidArgument."""
    for part in (hostname, domain) if domain else (hostname,):
        check_host_name(part)
    return f"{hostname}.{domain} {hostname}" if domain else hostname


def hosts_file(
    *, hostname: str, domain: str = "", addresses: Sequence[str] = (), extra: Sequence[tuple[str, str]] = (), ipv6: bool
) -> str:
    """/etc/hosts: loopback, `extra` (address, names), then the container's own addresses with its name."""
    names = own_names(hostname, domain)
    text = _LOOPBACK4 + (_LOOPBACK6 if ipv6 else "")
    for address, name in extra:
        for part in name.split(" "):
            check_host_name(part)
        text += f"{ipaddress.ip_address(address)}\t{name}\n"
    return text + own_lines(addresses, names)


def hostname_file(hostname: str) -> str:
    """/etc/hostname."""
    return check_host_name(hostname) + "\n"


def parse_resolv_conf(text: str) -> ResolvConf:
    """A host's resolv.conf; what is malformed is left out, the last search line counts (resolv.conf(5))."""
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    for line in text[:_MAX_RESOLV_BYTES].splitlines():
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            options += words[1:]
    return ResolvConf(servers=tuple(servers), search=tuple(search), options=tuple(options))


def _reachable(server: str, *, ipv6: bool) -> bool:
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return False
    # a scope names an interface of the host's (RFC 4007), which the container does not have
    return address.version == 4 or (ipv6 and "%" not in server and not address.is_link_local)


def container_resolv_conf(
    host: ResolvConf,
    *,
    dns: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    ipv6: bool = False,
) -> ResolvConf:
    """What a container on a bridge gets: each given setting replaces the host's, else the host's reachable servers.

    `--dns-search .` means none. Raises InvalidArgument.
    """
    check_dns(dns, search, options)
    servers = tuple(dns) or tuple(server for server in host.servers if _reachable(server, ipv6=ipv6))
    if not servers:
        servers = FALLBACK_SERVERS + (FALLBACK_SERVERS6 if ipv6 else ())
    wanted = tuple(search) or host.search
    return ResolvConf(
        servers=servers,
        search=tuple(domain for domain in wanted if domain != "."),
        options=tuple(options) or host.options,
    )


def embedded_resolv_conf(
    host: ResolvConf,
    *,
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    upstreams: Sequence[object] = (),
) -> str:
    """The file of a container that the embedded name server at 127.0.0.11 serves, and in a comment where that asks.

    `ndots:0` lets names without a dot be asked as they are before any search domain is tried.
    """
    check_dns((), search, options)
    wanted = tuple(options) or host.options
    if not any(option.startswith("ndots:") for option in wanted):
        wanted = (*wanted, "ndots:0")
    domains = tuple(domain for domain in tuple(search) or host.search if domain != ".")
    text = ResolvConf(servers=(EMBEDDED_SERVER,), search=domains, options=wanted).text()
    return f"{text}\n# ExtServers: [{' '.join(map(str, upstreams))}]\n"


def own_lines(addresses: Iterable[str], names: str) -> str:
    """The lines of a container's own addresses."""
    return "".join(f"{address}\t{names}\n" for address in addresses)


def without_lines(content: bytes, lines: str) -> bytes:
    """A hosts file, which its container may have changed, without any of these lines."""
    gone = set(lines.encode().splitlines())
    return b"".join(line for line in content.splitlines(keepends=True) if line.rstrip(b"\n") not in gone)


def check_dns(dns: Sequence[str], search: Sequence[str], options: Sequence[str]) -> None:
    """Validation of --dns, --dns-search and --dns-option. Raises InvalidArgument with Docker's texts."""
    for server in dns:
        try:
            ipaddress.ip_address(server)
        except ValueError:
            raise InvalidArgument(f"invalid IP address: {server[:64]}") from None
    for domain in search:
        if domain != "." and not _HOST_NAME.match(domain):
            raise InvalidArgument(f"{domain[:64]!r} is not a valid domain")
    for option in options:
        if not _OPTION.match(option):
            raise InvalidArgument(f"invalid DNS option {option[:64]!r}")


def link_hosts(links: Mapping[str, tuple[str, Sequence[str]]]) -> list[tuple[str, str]]:
    """Lines of `--link`: alias -> (address, further names), as Docker orders them: alias, id, name."""
    return [(address, " ".join([alias, *names])) for alias, (address, names) in links.items()]
