"""Address management: which subnet a new network gets, which address a container gets. Pure, no I/O; daemon only.

Facts of Docker's: default pools of RFC 1918 space (Docker's end after 31 networks, ours go on), the first address is
the gateway's, containers take the lowest free address. IPv6 networks without a subnet get a /64 of a unique local
prefix (RFC 4193) of this daemon.
"""

from __future__ import annotations

import hashlib
import heapq
import ipaddress
import secrets
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from corten.errors import Conflict, InvalidArgument, ResourceExhausted

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Pool:
    """A block that subnets of `size` bits are cut from (`--default-address-pool base=,size=`)."""

    base: IPNetwork
    size: int


def parse_pool(base: str, size: int) -> Pool:
    """A pool from its two settings. Raises InvalidArgument."""
    network = parse_subnet(base)
    if not network.prefixlen <= size <= network.max_prefixlen:
        raise InvalidArgument(f"invalid default address pool: size {size} does not fit into {base}")
    return Pool(network, size)


DEFAULT_POOLS = tuple(
    Pool(ipaddress.ip_network(base), size)
    for base, size in (
        ("172.17.0.0/16", 16),
        ("172.18.0.0/16", 16),
        ("172.19.0.0/16", 16),
        ("172.20.0.0/14", 16),
        ("172.24.0.0/14", 16),
        ("172.28.0.0/14", 16),
        ("192.168.0.0/16", 20),
        ("10.128.0.0/9", 24),
    )
)
"""Docker's 31 networks, and where Docker gives up 32,768 smaller ones."""


def local_pool(identity: str) -> Pool:
    """The unique local /48 of the daemon with this identity, cut into /64 (RFC 4193 section 3.2)."""
    digest = hashlib.sha256(identity.encode()).digest()[:5]
    base = int.from_bytes(b"\xfd" + digest, "big") << 80
    return Pool(ipaddress.IPv6Network((base, 48)), 64)


def parse_subnet(text: str) -> IPNetwork:
    """`10.0.0.0/8`; host bits are refused. Raises InvalidArgument."""
    try:
        if "/" not in text or "%" in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidArgument(f"invalid subnet {text[:64]}: invalid CIDR address: {text[:64]}") from None


def parse_address(text: str) -> IPAddress:
    """An address, without a scope (RFC 4007): that names a link of the host's. Raises InvalidArgument."""
    try:
        if "%" in text:
            raise ValueError
        return ipaddress.ip_address(text)
    except ValueError:
        raise InvalidArgument(f"invalid address: {text[:64]}") from None


def parse_interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """An address with its prefix length, of our own records."""
    return ipaddress.ip_interface(text)


def overlaps(first: IPNetwork, second: IPNetwork) -> bool:
    """Whether two prefixes share an address; never across families."""
    return first.version == second.version and first.overlaps(second)


class Taken:
    """Prefixes in use, as runs of addresses in order: a router has tens of thousands of routes, and whoever chooses a
    subnet looks at the few that are in its way."""

    def __init__(self, prefixes: Iterable[IPNetwork] = ()) -> None:
        found: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for prefix in prefixes:
            found[prefix.version].append((int(prefix.network_address), int(prefix.broadcast_address)))
        self._runs = {version: _merged(sorted(runs)) for version, runs in found.items()}

    def runs(self, within: IPNetwork) -> Iterator[tuple[int, int]]:
        """Those with addresses of a prefix: first and last address of each."""
        runs, last = self._runs[within.version], int(within.broadcast_address)
        at = bisect_left(runs, int(within.network_address), key=lambda run: run[1])
        while at < len(runs) and runs[at][0] <= last:
            yield runs[at]
            at += 1


def _merged(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in runs:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


_NOTHING = Taken()


def choose_subnet(pools: Iterable[Pool], own: Iterable[IPNetwork], host: Taken = _NOTHING) -> IPNetwork:
    """The first subnet of the pools that overlaps nothing: neither our networks nor the host's routes and addresses.

    Raises ResourceExhausted.
    """
    ours = Taken(own)
    for pool in pools:
        found = _first_free(pool, heapq.merge(ours.runs(pool.base), host.runs(pool.base)))
        if found is not None:
            return found
    raise ResourceExhausted(
        "all predefined address pools have been fully subnetted",
        hint="remove unused networks (network prune) or give the network a subnet of its own (--subnet)",
    )


def _first_free(pool: Pool, rivals: Iterable[tuple[int, int]]) -> IPNetwork | None:
    """Steps over each rival once, however large the block and however many there are. They come in order."""
    prefix = max(pool.size, pool.base.prefixlen)
    step = 1 << (pool.base.max_prefixlen - prefix)
    start = int(pool.base.network_address)
    for first, last in rivals:
        if first >= start + step:
            break
        start = max(start, last // step * step + step)
    if start > int(pool.base.broadcast_address):
        return None
    kind = ipaddress.IPv4Network if pool.base.version == 4 else ipaddress.IPv6Network
    return kind((start, prefix))


class AddressSpace:
    """The addresses of one subnet. Lowest free first; `ip_range` narrows what is handed out unasked."""

    def __init__(self, subnet: IPNetwork, ip_range: IPNetwork | None = None) -> None:
        if ip_range is not None and not (overlaps(ip_range, subnet) and ip_range.prefixlen >= subnet.prefixlen):
            raise InvalidArgument(f"subnet {subnet} does not contain the range {ip_range}")
        self.subnet = subnet
        self._first = int(subnet.network_address)
        self._last = int(subnet.broadcast_address)
        if subnet.version == 4 and subnet.prefixlen < 31:
            self._first, self._last = self._first + 1, self._last - 1
        elif subnet.version == 6 and subnet.prefixlen < 127:
            self._first += 1  # the subnet-router anycast address (RFC 4291 section 2.6.1)
        within = ip_range or subnet
        self._low = max(self._first, int(within.network_address))
        self._high = min(self._last, int(within.broadcast_address))
        self._next = self._low
        self._freed: list[int] = []
        self._used: set[int] = set()

    def __len__(self) -> int:
        return len(self._used)

    def __contains__(self, address: IPAddress) -> bool:
        return int(address) in self._used

    def first(self) -> IPAddress:
        """The subnet's first host address: the gateway's by default."""
        return self._address(self._first)

    def allocate_highest(self) -> IPAddress:
        """The highest free address: for what nobody asks for by its number, as people ask for low ones with --ip.
        Raises ResourceExhausted."""
        value = self._high
        while value >= self._low:
            if value not in self._used:
                self._used.add(value)
                return self._address(value)
            value -= 1
        raise self._exhausted()

    def allocate(self) -> IPAddress:
        """The lowest free address. Raises ResourceExhausted."""
        while self._freed:
            value = heapq.heappop(self._freed)
            if value not in self._used:
                self._used.add(value)
                return self._address(value)
        while self._next <= self._high:
            value = self._next
            self._next += 1
            if value not in self._used:
                self._used.add(value)
                return self._address(value)
        raise self._exhausted()

    def _exhausted(self) -> ResourceExhausted:
        return ResourceExhausted(f"no available IPv{self.subnet.version} addresses on this network's address pools")

    def reserve(self, address: IPAddress) -> None:
        """Take this very address. Raises InvalidArgument (not in the subnet), Conflict (taken)."""
        value = int(address)
        if address.version != self.subnet.version or not self._first <= value <= self._last:
            raise InvalidArgument(f"no configured subnet contains IP address {address}")
        if value in self._used:
            raise Conflict("Address already in use")
        self._used.add(value)

    def release(self, address: IPAddress) -> None:
        """Give an address back; one that is free stays free."""
        value = int(address)
        if value not in self._used:
            return
        self._used.discard(value)
        if self._low <= value < self._next:
            heapq.heappush(self._freed, value)

    def _address(self, value: int) -> IPAddress:
        return ipaddress.IPv4Address(value) if self.subnet.version == 4 else ipaddress.IPv6Address(value)


def random_mac() -> str:
    """A locally administered MAC for an endpoint without an address of ours."""
    return (b"\x02\x42" + secrets.token_bytes(4)).hex(":")


def mac_of(address: IPAddress) -> str:
    """The MAC of an endpoint, made from its address: a reused address keeps its MAC, so no neighbour cache goes stale.

    02:42 and the four bytes for IPv4, as Docker up to 27; 02:42 and a hash for an IPv6-only endpoint.
    """
    raw = address.packed if address.version == 4 else hashlib.sha256(address.packed).digest()[:4]
    return (b"\x02\x42" + raw).hex(":")
