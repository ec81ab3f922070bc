"""Rules that spread connections: a chain and a map of slots for each address or port. Pure; daemon only.

A NAT chain sees the first packet of a connection alone; what it chose stays with the connection, whatever becomes of
the map. Each slot counts the connections it was chosen for. Where nobody serves, the connection is refused at once.
The same parts stand in the instance's table on the host and in a table of each client's network namespace.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from corten.linux.netlink import Message, attr, attr_be32, attr_text, attr_u8, attribute_list, attributes, nested
from corten.network import nft
from corten.network.balancing import Backend, Balance, slots
from corten.network.ipam import IPAddress

CLIENT_TABLE = "corten-services"
_DSTNAT = -100
_REG_1, _REG32, _REG32_DATA = 1, 8, 16
_SEED = 0x436F7274  # any, but the same in all namespaces and at all times: a client keeps its member
_SOURCE = {4: (12, 4), 6: (8, 16)}  # offset and length in the IP header
_DESTINATION = {4: (16, 4), 6: (24, 16)}
_NFGENMSG = 4
_MOST_COUNTED = 1 << 48  # so far nobody counts; whoever owns a namespace can write any number into its table
_UDP = "udp-"
_ICMPX_PORT_UNREACHABLE = 1

Counts = Mapping[tuple[str, bytes], int]
"""(map, the bytes of a backend) -> connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Connections to an address, or with a protocol to a port of it (the unspecified address for any), and those who
    take them. All of one family."""

    address: IPAddress
    protocol: str = ""
    port: int = 0
    balance: Balance
    backends: tuple[Backend, ...]

    @property
    def name(self) -> str:
        """The name of its chain and of its first map."""
        return f"to-{self.address}" if not self.protocol else f"port-{self.protocol}-{self.address}-{self.port}"

    @property
    def maps(self) -> tuple[str, ...]:
        """The names of its maps of slots: datagrams have their own, so that it is known whether there are any flows
        to forget when a member leaves."""
        return (self.name,) if self.protocol else (self.name, f"{_UDP}{self.name}")

    @property
    def leads_from(self) -> str:
        """The map that leads packets to its chain."""
        if not self.protocol:
            return f"services{self.address.version}"
        return f"spread-any{self.address.version}" if self.address.is_unspecified else f"spread{self.address.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Pieces of a table; `to_services` and `to_ports` are the rules that lead to the chains."""

    sets: tuple[nft.Set, ...] = ()
    chains: tuple[nft.Chain, ...] = ()
    to_services: tuple[nft.Rule, ...] = ()
    to_ports: tuple[nft.Rule, ...] = ()


_KEYS = {
    "services": ((), "to_services"),
    "spread": (("inet_proto", "inet_service"), "to_ports"),
    "spread-any": (("inet_proto", "inet_service"), "to_ports"),
}


def parts(spreads: Sequence[Spread], counts: Counts | None = None, *, turn: int = 0) -> Parts:
    """The pieces for these. `counts` are those of the slots before, `turn` is where a cycle begins: clients that each
    open a single connection must not all begin with the same member."""
    sets: list[nft.Set] = []
    chains: list[nft.Chain] = []
    leading: dict[str, list[nft.Element]] = {}
    for spread in spreads:
        chain, maps = parts_of(spread, counts, turn=turn)
        chains.append(chain)
        sets += maps
        leading.setdefault(spread.leads_from, []).append(_jump(spread))
    rules: dict[str, list[nft.Rule]] = {"to_services": [], "to_ports": []}
    for name in sorted(leading):
        version = int(name[-1])
        key, where = _KEYS[name[:-1]]
        address = () if name.startswith("spread-any") else (f"ipv{version}_addr",)
        sets.append(nft.Set(name, (*address, *key), ("verdict",), tuple(leading[name])))
        if key:
            rules[where].append((nft.port_verdict(version, name, with_address=bool(address)),))
        else:
            rules[where].append((_address_verdict(version, name),))
    return Parts(
        sets=tuple(sets),
        chains=tuple(chains),
        to_services=tuple(rules["to_services"]),
        to_ports=tuple(rules["to_ports"]),
    )


def parts_of(spread: Spread, counts: Counts | None = None, *, turn: int = 0) -> tuple[nft.Chain, list[nft.Set]]:
    """The chain and the maps of one: what changes when members come and go."""
    cycle = slots(spread.backends, spread.balance)
    data = (f"ipv{spread.address.version}_addr", *(["inet_service"] if spread.protocol else []))
    maps = [
        nft.Set(name, ("integer",), data, _slots(spread, name, cycle, counts or {}, turn=turn)) for name in spread.maps
    ]
    return nft.Chain(spread.name, _rules(spread, len(cycle))), maps


def client_table(spreads: Sequence[Spread], counts: Counts | None = None, *, turn: int = 0) -> nft.Table:
    """The table of a client's network namespace. It says nothing of ports: those are the host's."""
    found = parts(spreads, counts, turn=turn)
    # A NAT chain sees nothing in a family whose connections are not tracked, and what has them tracked is a rule that
    # asks for their state or translates them: where nobody serves there is no other.
    tracked = (nft.established(), nft.verdict("accept"))
    output = nft.Chain("output", (tracked, *found.to_services), "nat", "output", _DSTNAT)
    return nft.Table(CLIENT_TABLE, found.sets, (*found.chains, output))


def _jump(spread: Spread) -> nft.Element:
    if spread.protocol:
        address = None if spread.address.is_unspecified else spread.address
        return nft.port_jump(nft.port_key(spread.protocol, spread.port, address), spread.name)
    return nft.port_jump((str(spread.address), spread.address.packed), spread.name)


def _rules(spread: Spread, modulus: int) -> tuple[nft.Rule, ...]:
    if not modulus:
        return ((_is_protocol("tcp"), _reject_tcp()), (_reject(),))
    *datagrams, everything = ((_dnat_by_slot(spread, name, modulus),) for name in reversed(spread.maps))
    return (*((_is_protocol("udp"), *rule) for rule in datagrams), everything)


def _slots(spread: Spread, name: str, cycle: Sequence[int], counts: Counts, *, turn: int) -> tuple[nft.Element, ...]:
    """One element a slot; the first slot of a backend goes on from what all of its slots had counted."""
    found = []
    counted: set[int] = set()
    ordered = spread.balance is Balance.SOURCE_HASH
    for position in range(len(cycle)):
        index = cycle[position if ordered else (position + turn) % len(cycle)]
        backend = spread.backends[index]
        raw = backend_bytes(backend, with_port=bool(spread.protocol))
        before = 0 if index in counted else counts.get((name, raw), 0)
        counted.add(index)
        target = f"{backend.address} . {backend.port}" if spread.protocol else str(backend.address)
        counter = nested(7, attr_text(1, "counter"), nested(2, attr(1, bytes(8)), attr(2, struct.pack("!Q", before))))
        data = nft.data_value(2, raw) + counter
        found.append(nft.Element(f"{position} counter : {target}", struct.pack("=I", position), data))
    return tuple(found)


def backend_bytes(backend: Backend, *, with_port: bool) -> bytes:
    """A backend as the kernel has it in a map."""
    return backend.address.packed + (struct.pack("!Hxx", backend.port) if with_port else b"")


def counts_of(name: str, replies: Iterable[Message]) -> dict[tuple[str, bytes], int]:
    """What the slots of map `name` have counted, from the answers to a dump of its elements, within bounds."""
    found: dict[tuple[str, bytes], int] = {}
    for reply in replies:
        for _kind, raw in attribute_list(attributes(reply.payload, _NFGENMSG).get(3, b"")):
            element = attributes(raw)
            backend = attributes(element.get(2, b"")).get(1, b"")
            expression = attributes(element.get(7, b""))
            counter = attributes(expression.get(2, b""))
            key = (name, backend)
            found[key] = min(found.get(key, 0) + int.from_bytes(counter.get(2, b""), "big"), _MOST_COUNTED)
    return found


def of_members(spreads: Iterable[Spread], counts: Counts) -> dict[tuple[str, bytes], int]:
    """What was counted of those that serve by `spreads`, and of nobody else: a client that may write into its own
    table can name anybody there, and as many as it likes."""
    told = {
        (name, backend_bytes(backend, with_port=bool(spread.protocol)))
        for spread in spreads
        for name in spread.maps
        for backend in spread.backends
    }
    return {key: count for key, count in counts.items() if key in told}


def silenced(spreads: Iterable[Spread], counts: Counts) -> set[IPAddress]:
    """Who has taken datagrams, by what was counted, and takes none any more: flows to there are to be forgotten."""
    found = set()
    for spread in spreads:
        name = spread.name if spread.protocol == "udp" else f"{_UDP}{spread.name}"
        serving = {backend_bytes(backend, with_port=bool(spread.protocol)) for backend in spread.backends}
        width = len(spread.address.packed)
        taken = [raw for (where, raw), count in counts.items() if where == name and count and raw not in serving]
        found |= {ipaddress.ip_address(raw[:width]) for raw in taken}
    return found


# -- expressions -------------------------------------------------------------------------------------------------------


def _expression(name: str, *attrs: bytes) -> bytes:
    return nested(1, attr_text(1, name), nested(2, *attrs))


def _address_verdict(version: int, name: str) -> nft.Expression:
    """`ip daddr vmap @name`."""
    family = nft.protocol_version(version)
    lookup = _expression("lookup", attr_text(1, name), attr_be32(2, _REG_1), attr_be32(3, 0))
    word = "ip" if version == 4 else "ip6"
    return nft.Expression(
        f"{word} daddr vmap @{name}", (*family.code, _header_field(_DESTINATION[version], _REG_1), lookup)
    )


def _header_field(place: tuple[int, int], register: int) -> bytes:
    offset, length = place
    return _expression("payload", attr_be32(1, register), attr_be32(2, 1), attr_be32(3, offset), attr_be32(4, length))


def _dnat_by_slot(spread: Spread, name: str, modulus: int) -> nft.Expression:
    """`dnat ip to numgen inc mod 3 map @name`, or by `jhash ip saddr mod 256`."""
    version = spread.address.version
    word = "ip" if version == 4 else "ip6"
    if spread.balance is Balance.SOURCE_HASH:
        length = _SOURCE[version][1]
        source = _header_field(_SOURCE[version], _REG32 + 4)
        attrs = (attr_be32(1, _REG32 + 4), attr_be32(2, _REG32), attr_be32(3, length), attr_be32(4, modulus))
        code = [source, _expression("hash", *attrs, attr_be32(5, _SEED))]
        text = f"jhash {word} saddr mod {modulus} seed {_SEED:#x}"
    else:
        code = [_expression("numgen", attr_be32(1, _REG32), attr_be32(2, modulus), attr_be32(3, 0))]
        text = f"numgen inc mod {modulus}"
    lookup = _expression("lookup", attr_text(1, name), attr_be32(2, _REG32), attr_be32(3, _REG32_DATA))
    family = nft.NFPROTO_IPV4 if version == 4 else nft.NFPROTO_IPV6
    nat = [attr_be32(1, 1), attr_be32(2, family), attr_be32(3, _REG32_DATA)]
    if spread.protocol:
        nat.append(attr_be32(5, _REG32_DATA + (1 if version == 4 else 4)))
    return nft.Expression(f"dnat {word} to {text} map @{name}", (*code, lookup, _expression("nat", *nat)))


def _is_protocol(name: str) -> nft.Expression:
    meta = _expression("meta", attr_be32(2, 16), attr_be32(1, _REG_1))
    compare = _expression("cmp", attr_be32(1, _REG_1), attr_be32(2, 0), nft.data_value(3, bytes([nft.PROTOCOLS[name]])))
    return nft.Expression(f"meta l4proto {name}", (meta, compare))


def _reject_tcp() -> nft.Expression:
    return nft.Expression("reject with tcp reset", (_expression("reject", attr_be32(1, 1)),))


def _reject() -> nft.Expression:
    attrs = (attr_be32(1, 2), attr_u8(2, _ICMPX_PORT_UNREACHABLE))
    return nft.Expression("reject with icmpx port-unreachable", (_expression("reject", *attrs),))
