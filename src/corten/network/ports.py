"""Published ports: what is asked (pure), and host ports held by bound sockets. Daemon only.

A held port is a real socket, listening for TCP, so that no other process takes it and a conflict shows at once with
Docker's texts. The kernel's NAT sees packets before the socket does; what still arrives at it (::1, or [::] for a
container without IPv6) is served by `network.relay`.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from msgspec import UNSET

from corten.errors import InvalidArgument, ResourceExhausted
from corten.linux.errors import reason
from corten.network.ipam import IPAddress, IPNetwork
from corten.spec.docker.network import PortBinding, PortMap

ANY4 = ipaddress.IPv4Address(0)
ANY6 = ipaddress.IPv6Address(0)
_PROTOCOLS = ("tcp", "udp", "sctp")
_BACKLOG = 4096
_SMALL_BUFFER = 64 * 1024


LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


class PublishPolicy(StrEnum):
    """Who may reach published ports (`publish.policy`).

    DOCKER: everyone, before the host's own input rules are asked. HOST_FIREWALL: whom the host's input rules let in.
    LOOPBACK: the host alone, unless a port names an address.
    """

    DOCKER = "docker"
    HOST_FIREWALL = "host-firewall"
    LOOPBACK = "loopback"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRequest:
    """A container port and where it is wanted: no address for any, `first` 0 for any free port.

    `sources` are the ranges that may connect, empty for all. `service`: the key of the service whose members may share
    the port, when it is a certain one.
    """

    protocol: str
    container_port: int
    address: IPAddress | None = None
    first: int = 0
    last: int = 0
    sources: tuple[IPNetwork, ...] = ()
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPort:
    """A host port that is ours. `socket` is None where this kernel has no such sockets (SCTP).

    `port` 0: no host port, the container's own address is reached by routes (gateway mode routed). `service`: held
    together with other members of this service, whose socket is the same.
    """

    protocol: str
    container_port: int
    address: IPAddress
    port: int
    socket: socket.socket | None
    sources: tuple[IPNetwork, ...] = ()
    service: str = ""

    @property
    def place(self) -> tuple[str, IPAddress, int]:
        """Protocol, address and port."""
        return self.protocol, self.address, self.port


def parse_port(key: str) -> tuple[int, str]:
    """`80/tcp` or `80`. Raises InvalidArgument."""
    number, _slash, protocol = key.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS or not number.isascii() or not number.isdigit() or not 0 < int(number[:9]) < 65536:
        raise InvalidArgument(f'invalid port specification: "{key[:64]}"')
    return int(number), protocol


def _parse_host_port(text: str) -> tuple[int, int]:
    first, _dash, last = text.partition("-")
    try:
        if not (first + last).isascii() or len(text) > 11:
            raise ValueError
        low = int(first) if first else 0
        high = int(last) if last else low
        if not 0 <= low <= high < 65536:
            raise ValueError
    except ValueError:
        raise InvalidArgument(f'invalid port specification: "{text[:64]}"') from None
    return low, high


def parse_bindings(
    bindings: Mapping[str, list[PortBinding] | None] | None, exposed: Collection[str] = (), *, publish_all: bool = False
) -> list[PortRequest]:
    """What a container asks for, by container port. Raises InvalidArgument; used for validation at create, too."""
    requests = []
    bound = set()
    for key, wanted in (bindings or {}).items():
        port, protocol = parse_port(key)
        for binding in wanted or ():
            bound.add((port, protocol))
            first, last = _parse_host_port(binding.host_port)
            requests.append(
                PortRequest(
                    protocol=protocol,
                    container_port=port,
                    address=_parse_host_ip(binding.host_ip),
                    first=first,
                    last=last,
                    sources=_parse_sources(binding.sources),
                )
            )
    if publish_all:
        for key in exposed:
            port, protocol = parse_port(key)
            if (port, protocol) not in bound:
                requests.append(PortRequest(protocol=protocol, container_port=port))
    return sorted(requests, key=lambda r: (r.container_port, r.protocol, r.first))


def _parse_sources(texts: object) -> tuple[IPNetwork, ...]:
    if texts is UNSET:
        return ()
    assert isinstance(texts, list)
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            hint = "give an address or a range in CIDR form, 10.0.0.0/8 say"
            raise InvalidArgument(f"invalid source {text[:64]!r} of a published port", hint=hint) from None
    if not found:
        raise InvalidArgument("a published port with an empty list of sources could not be reached by anyone")
    return tuple(sorted(set(found), key=str))


def _parse_host_ip(text: str) -> IPAddress | None:
    if not text:
        return None
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise InvalidArgument(f"invalid IP address {text[:64]!r} in port binding") from None


def port_map(held: Collection[HeldPort], exposed: Collection[str] = ()) -> PortMap:
    """`NetworkSettings.Ports`: what is published, and null for what is only exposed."""
    found: PortMap = {}
    for item in held:
        bindings = found.setdefault(f"{item.container_port}/{item.protocol}", [])
        if bindings is not None:
            shown = str(item.port) if item.port else ""
            bindings.append(PortBinding(host_ip=str(item.address), host_port=shown))
    for key in exposed:  # what cannot be published, 80/icmp say, can be exposed
        found.setdefault(key.lower() if "/" in key else f"{key}/tcp", None)
    return found


class PortHolder:
    """All host ports that this daemon holds."""

    def __init__(self, *, default_addresses: Sequence[IPAddress] = ()) -> None:
        self._default = list(default_addresses)
        self._held: dict[tuple[str, int], list[IPAddress]] = {}
        self._shared: dict[tuple[str, IPAddress, int], list[HeldPort]] = {}
        self._cursor: dict[str, int] = {}

    def hold(
        self, request: PortRequest, target: IPAddress | None, *, families: Collection[int] = (4, 6)
    ) -> list[HeldPort]:
        """Hold a host port for a request: on one address, or on any of both families with one number.

        Only addresses of `families` are held. Raises ResourceExhausted with Docker's text.
        """
        addresses = [address for address in self._addresses(request.address) if address.version in families]
        if not addresses:
            return []
        failure: ResourceExhausted | None = None
        for port in self._candidates(request):
            try:
                return self._hold_all(request, addresses, port, target)
            except ResourceExhausted as error:
                failure = error
        if request.first and request.first == request.last and failure is not None:
            raise failure
        if request.first:
            raise ResourceExhausted(
                f"Bind for {_shown(addresses[0])}:{request.first}-{request.last} failed: all ports are allocated"
            )
        raise ResourceExhausted("all ports are allocated")

    def adopt(self, item: HeldPort) -> HeldPort:
        """Hold again what a living container has, after a restart; the port stays ours without a socket, too."""
        if not item.port:
            return item
        if (shared := self._share(item)) is not None:
            return shared
        try:
            held = _bind(item.protocol, item.address, item.port)
        except OSError:
            held = None
        return self._remember(replace(item, socket=held))

    def _remember(self, item: HeldPort) -> HeldPort:
        self._held.setdefault((item.protocol, item.port), []).append(item.address)
        if item.service:
            self._shared[item.place] = [item]
        return item

    def _share(self, item: HeldPort) -> HeldPort | None:
        """Hold a port with other members of its service; None when they do not hold it. Raises ResourceExhausted."""
        others = self._shared.get(item.place, [])
        if not item.service or not others or others[0].service != item.service:
            return None
        if others[0].sources != item.sources:
            name = item.service.partition("/")[2]
            text = (
                f"Bind for {_shown(item.address)}:{item.port} failed: other members of service {name} publish the port"
            )
            raise ResourceExhausted(f"{text} with another source list; give all of them the same 'from='")
        others.append(shared := replace(item, socket=others[0].socket))
        return shared

    def is_shared(self, item: HeldPort) -> bool:
        """Whether others hold this port, too."""
        return len(self._shared.get(item.place, ())) > 1

    def release(self, item: HeldPort) -> None:
        """Let a port go."""
        others = self._shared.get(item.place, [])
        if item.service and item in others:
            others.remove(item)
            if others:
                return
            del self._shared[item.place]
        if item.socket is not None:
            item.socket.close()
        addresses = self._held.get((item.protocol, item.port), [])
        if item.address in addresses:
            addresses.remove(item.address)
        if not addresses:
            self._held.pop((item.protocol, item.port), None)

    def _addresses(self, wanted: IPAddress | None) -> list[IPAddress]:
        if wanted is not None:
            return [wanted]
        ipv6 = Path("/proc/net/if_inet6").exists()
        if self._default:
            return [address for address in self._default if address.version == 4 or ipv6 or len(self._default) == 1]
        return [ANY4, ANY6] if ipv6 else [ANY4]

    def _candidates(self, request: PortRequest) -> Iterator[int]:
        if request.first:
            yield from range(request.first, request.last + 1)
            return
        low, high = _ephemeral_range()
        start = self._cursor.get(request.protocol, low)
        if not low <= start <= high:
            start = low
        for offset in range(high - low + 1):
            port = low + (start - low + offset) % (high - low + 1)
            self._cursor[request.protocol] = port + 1
            yield port

    def _hold_all(
        self, request: PortRequest, addresses: list[IPAddress], port: int, target: IPAddress | None
    ) -> list[HeldPort]:
        held: list[HeldPort] = []
        try:
            for address in addresses:
                wanted = HeldPort(
                    protocol=request.protocol,
                    container_port=request.container_port,
                    address=address,
                    port=port,
                    socket=None,
                    sources=request.sources,
                    service=request.service,
                )
                if (shared := self._share(wanted)) is not None:
                    held.append(shared)
                    continue
                taken = self._held.get((request.protocol, port), ())
                if any(_collide(address, other) for other in taken):
                    raise ResourceExhausted(f"Bind for {_shown(address)}:{port} failed: port is already allocated")
                try:
                    bound = _bind(request.protocol, address, port)
                except OSError as error:
                    if len(addresses) > 1 and address.version == 6 and error.errno in _NO_IPV6:
                        continue
                    text = f"{_shown(address)}:{port}:{target}:{request.container_port}/{request.protocol}"
                    why = reason(error.errno or 0)
                    raise ResourceExhausted(f"failed to bind host port for {text}: {why}") from error
                held.append(self._remember(replace(wanted, socket=bound)))
        except ResourceExhausted:
            for item in held:
                self.release(item)
            raise
        return held


_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def _collide(first: IPAddress, second: IPAddress) -> bool:
    return first.version == second.version and (first == second or first.is_unspecified or second.is_unspecified)


def _shown(address: IPAddress) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _ephemeral_range() -> tuple[int, int]:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 32768, 60999


def _bind(protocol: str, address: IPAddress, port: int) -> socket.socket | None:
    """A bound socket. SO_REUSEADDR only for TCP, where it means "despite TIME_WAIT" (ip(7), socket(7))."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    number = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": 132}[protocol]
    try:
        held = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, number)
    except OSError as error:
        if protocol == "sctp" and error.errno == errno.EPROTONOSUPPORT:
            return None
        raise
    try:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif protocol == "udp":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        held.bind((str(address), port))
        if protocol == "tcp":
            held.listen(_BACKLOG)
    except BaseException:
        held.close()
        raise
    return held
