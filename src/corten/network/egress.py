"""Egress lists: what a container may reach, as rules; which names and addresses they cover. Pure; daemon only.

A rule is a name, a wildcard, an address or a range of addresses, each with the ports it is for:

    example.com           *.debian.org:443          *  (every name)
    203.0.113.7:80-90     10.0.0.0/8:53/udp         [2001:db8::/32]:443/tcp        2001:db8::1

Without ports all protocols are meant, with ports TCP, UDP and SCTP. A list without rules lets nothing through.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from corten.errors import InvalidArgument
from corten.network.ipam import IPAddress, IPNetwork

NOTHING = "none"
LABEL = OPTION_EGRESS = "corten.egress"  # of containers, where a client has no field for the list; and of networks
_MAX_RULES = 1024
_MAX_NAME = 253
_PROTOCOLS = ("tcp", "udp", "sctp")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/([a-z]+))?\Z")
_NAME = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")
_LAST_LABEL_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\Z")  # such a name is an address to many resolvers
# Where IPv6 carries an IPv4 address: mapped, translated (RFC 6052, 8215), 6to4.
_CARRIERS = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
)
_SITE_LOCAL = ipaddress.IPv6Network("fec0::/10")


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """What a rule is for: ports `low` to `high` of a protocol, "" for TCP, UDP and SCTP. `low` 0: everything."""

    protocol: str = ""
    low: int = 0
    high: int = 0

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that ports are meant of; none when everything is meant."""
        if not self.low:
            return ()
        return (self.protocol,) if self.protocol else _PROTOCOLS


EVERYTHING = Ports()


@dataclass(frozen=True, slots=True)
class EgressList:
    """A list as values. `names` are lower-case; a pattern that begins with `*.` means all names below, `*` all."""

    names: tuple[tuple[str, Ports], ...] = ()
    ranges: tuple[tuple[IPNetwork, Ports], ...] = ()

    def ports(self) -> list[Ports]:
        """All different ones, in a fixed order."""
        return sorted({ports for _what, ports in (*self.names, *self.ranges)})

    def ports_of_name(self, name: str) -> list[Ports]:
        """What a name (as in `dns.message.Query`) may be reached at; none: it is not listed."""
        wanted = name.lower().removesuffix(".")
        if "\\" in wanted:  # a label with a dot in it is no two labels, though it reads like them
            return []
        return sorted({ports for pattern, ports in self.names if _matches(pattern, wanted)})

    def ranges_at(self, ports: Ports, version: int) -> list[IPNetwork]:
        """The ranges of a family that may be reached at just these ports, without overlaps, in order."""
        found = [network for network, at in self.ranges if at == ports and network.version == version]
        return _collapsed(found)

    def covers(self, address: IPAddress) -> bool:
        """Whether some range has this address."""
        return any(address in network for network, _ports in self.ranges)


def _collapsed(networks: Sequence[IPNetwork]) -> list[IPNetwork]:
    if networks and networks[0].version == 4:
        return list(ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv4Network)))
    return list(ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv6Network)))


def _matches(pattern: str, name: str) -> bool:
    if pattern == "*":
        return bool(name)
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) and len(name) >= len(pattern)
    return name == pattern


def split_rules(rules: Iterable[str]) -> list[str]:
    """The rules one by one; `none` is no rule."""
    words = [word.strip() for rule in rules for word in rule.split(",")]
    return [word for word in words if word not in ("", NOTHING)]


def parse_rules(rules: Iterable[str]) -> EgressList:
    """A list from rules, each of them one or several with commas between. Raises InvalidArgument."""
    rules = list(rules)
    words = split_rules(rules)
    if words and any(word.strip() == NOTHING for rule in rules for word in rule.split(",")):
        raise InvalidArgument(f"invalid egress list: {NOTHING!r} (reach nothing) stands alone")
    if len(words) > _MAX_RULES:
        raise InvalidArgument(f"invalid egress list: {len(words)} rules are more than {_MAX_RULES}")
    names: dict[tuple[str, Ports], None] = {}
    ranges: dict[tuple[IPNetwork, Ports], None] = {}
    for word in words:
        what, ports = _parse_rule(word)
        if isinstance(what, str):
            names[what, ports] = None
        else:
            ranges[what, ports] = None
    return EgressList(tuple(names), tuple(ranges))


def _parse_rule(word: str) -> tuple[str | IPNetwork, Ports]:
    text, port_text = _split(word)
    ports = EVERYTHING if port_text is None else _parse_ports(port_text, word)
    if ":" in text or "/" in text or _LAST_LABEL_NUMERIC.match(text.lower()):
        return _parse_range(text, word), ports
    name = text.lower().removesuffix(".")
    if name != "*" and (len(name) > _MAX_NAME or not _NAME.match(name)):
        hint = "" if name.isascii() else " (write names of other alphabets in their xn-- form)"
        raise _wrong(word, f"{text[:64]!r} is no name, wildcard (*.example.com), address or range of addresses{hint}")
    return name, ports


def _split(word: str) -> tuple[str, str | None]:
    """What stands before the ports, and the ports if there are any."""
    if word.startswith("["):
        text, bracket, rest = word[1:].partition("]")
        if not bracket or ":" not in text or (rest and not rest.startswith(":")):
            raise _wrong(word, "want [IPv6 address or range]:port")
        return text, rest[1:] if rest else None
    text, colon, rest = word.partition(":")
    if ":" in rest:  # IPv6, which takes ports in brackets only
        return word, None
    return text, rest if colon else None


def _parse_ports(text: str, word: str) -> Ports:
    match = _PORTS.match(text.lower())
    if match is None:
        raise _wrong(word, f"invalid ports {text[:32]!r}: want port, port-port or port/protocol")
    low, high, protocol = int(match[1]), int(match[2] or match[1]), match[3] or ""
    if not 0 < low <= high <= 65535:
        raise _wrong(word, f"invalid ports {text[:32]!r}: they are 1 to 65535, the lower one first")
    if protocol and protocol not in _PROTOCOLS:
        raise _wrong(word, f"invalid protocol {protocol[:16]!r}: use one of {', '.join(_PROTOCOLS)}")
    return Ports(protocol, low, high)


def _parse_range(text: str, word: str) -> IPNetwork:
    try:
        if "%" in text:
            raise ValueError("an address with a zone")
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise _wrong(word, str(error)) from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_CARRIERS[0][0]):
        raise _wrong(word, "write an IPv4 address as one")
    return network


def _wrong(word: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"invalid egress rule {word[:128]!r}: {why}")


def is_public(address: IPAddress) -> bool:
    """Whether a name of the world outside may stand for this address: not this host, its links, private networks,
    groups, nor IPv4 addresses like that within IPv6 ones."""
    if isinstance(address, ipaddress.IPv6Address):
        for carrier, shift in _CARRIERS:
            if address in carrier:
                return is_public(ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF))
        if address in _SITE_LOCAL:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_loopback)


def believable(addresses: Iterable[IPAddress], listed: EgressList, own: Sequence[IPNetwork]) -> list[IPAddress]:
    """The addresses that a container may be told for a name of the world outside (against DNS rebinding): public ones
    that are not in `own` (this host's addresses, its container networks), and those that its list has as ranges."""
    return [
        address
        for address in addresses
        if listed.covers(address) or (is_public(address) and not any(address in network for network in own))
    ]
