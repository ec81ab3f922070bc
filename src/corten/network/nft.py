"""nftables over netlink: expressions, rules, sets and transactions, each also as the text `nft list` would show.

Daemon only, blocking. The wire format is that of include/uapi/linux/netfilter/nf_tables.h (nfnetlink, subsystem 10);
numbers are in network order. Knows nothing of networks: `network.ruleset` says which rules there are.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from corten.linux.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    attr,
    attr_be32,
    attr_text,
    message,
    nested,
)

NFPROTO_INET = 1
NFPROTO_IPV4 = 2
NFPROTO_IPV6 = 10

_SUBSYSTEM = 10
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN = 0, 1, 2, 3, 4
_NEWRULE, _NEWSET, _NEWSETELEM, _DELSETELEM = 6, 9, 12, 14

_REG_VERDICT = 0
_REG_1 = 1
_REG32 = 8  # NFT_REG32_00: the same registers in words of four bytes
_REG32_DATA = 16  # where a map's data goes, behind any key

_META_IIFNAME, _META_OIFNAME, _META_NFPROTO, _META_L4PROTO = 6, 7, 15, 16
_META_IIFKIND, _META_OIFKIND = 26, 27
_PAYLOAD_NETWORK, _PAYLOAD_TRANSPORT = 1, 2
_CT_STATE, _CT_STATUS = 0, 2
_CT_ESTABLISHED_RELATED = 2 | 4
_IPS_DST_NAT = 1 << 5
_FIB_ADDRTYPE = 3
_FIB_DADDR = 2
_RTN_LOCAL = 2

_VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "return": -5}
_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_SET_MAP = 0x8
_DATA_VERDICT = 0xFFFFFF00
# nft's own numbers of data types, so that `nft list` shows the sets readably
_TYPES = {
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "inet_proto": (12, 1),
    "inet_service": (13, 2),
    "ifname": (41, 16),
}
_HOST_ORDER = struct.pack("=BBI", 0, 4, 1)  # user data for nft: the key's byte order, or it shows names wrongly
_ELEMENTS_A_MESSAGE = 256

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Expression:
    """A part of a rule: what nft would print, and the kernel's expressions for it."""

    text: str
    code: tuple[bytes, ...]


Rule = tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; with `hook` a base chain."""

    name: str
    rules: tuple[Rule, ...] = ()
    kind: str = ""
    hook: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Element:
    """A key, and for maps its data or verdict: what nft would print, and the bytes."""

    text: str
    key: bytes
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Set:
    """A set, or a map when `data` names a type ("verdict" for verdict maps)."""

    name: str
    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    elements: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A whole table of family inet."""

    name: str
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = field(default=())

    def text(self) -> str:
        """The table as `nft list table` would show it, near enough to read and to compare."""
        lines = [f"table inet {self.name} {{"]
        for item in self.sets:
            data = f" : {' . '.join(item.data)}" if item.data else ""
            lines += [f"\t{'map' if item.data else 'set'} {item.name} {{", f"\t\ttype {' . '.join(item.key)}{data}"]
            lines += [f"\t\t{element.text}" for element in item.elements] + ["\t}"]
        for chain in self.chains:
            lines.append(f"\tchain {chain.name} {{")
            if chain.hook:
                lines.append(f"\t\ttype {chain.kind} hook {chain.hook} priority {chain.priority}; policy accept;")
            lines += ["\t\t" + " ".join(part.text for part in rule) for rule in chain.rules] + ["\t}"]
        return "\n".join([*lines, "}", ""])


# -- expressions -------------------------------------------------------------------------------------------------------


def _expression(name: str, *attrs: bytes) -> bytes:
    return nested(1, attr_text(1, name), nested(2, *attrs))


def _value(kind: int, value: bytes) -> bytes:
    return nested(kind, attr(1, value))


def _verdict(kind: int, verdict: str, chain: str = "") -> bytes:
    code = struct.pack("!i", _VERDICTS[verdict])
    return nested(kind, nested(2, attr(1, code), *([attr_text(2, chain)] if chain else [])))


def _meta(key: int, register: int = _REG_1) -> bytes:
    return _expression("meta", attr_be32(2, key), attr_be32(1, register))


def _payload(base: int, offset: int, length: int, register: int = _REG_1) -> bytes:
    attrs = (attr_be32(1, register), attr_be32(2, base), attr_be32(3, offset), attr_be32(4, length))
    return _expression("payload", *attrs)


def _cmp(value: bytes, *, negate: bool = False) -> bytes:
    return _expression("cmp", attr_be32(1, _REG_1), attr_be32(2, int(negate)), _value(3, value))


def _mask(mask: bytes) -> bytes:
    zero = bytes(len(mask))
    attrs = (attr_be32(1, _REG_1), attr_be32(2, _REG_1), attr_be32(3, len(mask)), _value(4, mask), _value(5, zero))
    return _expression("bitwise", *attrs)


def _ifname(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def interface(direction: str, name: str, *, negate: bool = False) -> Expression:
    """`iifname "x"` or `oifname != "x"`."""
    key = _META_IIFNAME if direction == "iifname" else _META_OIFNAME
    text = f'{direction} {"!= " if negate else ""}"{name}"'
    return Expression(text, (_meta(key), _cmp(_ifname(name), negate=negate)))


def virtual_interface(direction: str) -> Expression:
    """Matches when the interface is of a software kind (bridge, veth, tun ...): a physical one has no kind."""
    key = _META_IIFKIND if direction == "iifkind" else _META_OIFKIND
    return Expression(f'{direction} != ""', (_meta(key), _cmp(bytes(16), negate=True)))


def address(direction: str, prefix: Prefix, *, negate: bool = False) -> Expression:
    """`ip saddr 172.17.0.0/16`, `ip6 daddr != ...`; a single address when the prefix is one."""
    v4 = prefix.version == 4
    width = 4 if v4 else 16
    offset = (12 if v4 else 8) + (width if direction == "daddr" else 0)
    raw = prefix.network_address.packed
    code = [_meta(_META_NFPROTO), _cmp(bytes([NFPROTO_IPV4 if v4 else NFPROTO_IPV6]))]
    if prefix.prefixlen % 8 == 0 and prefix.prefixlen:
        size = prefix.prefixlen // 8
        code += [_payload(_PAYLOAD_NETWORK, offset, size), _cmp(raw[:size], negate=negate)]
    else:
        code += [_payload(_PAYLOAD_NETWORK, offset, width), _mask(prefix.netmask.packed), _cmp(raw, negate=negate)]
    shown = str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)
    return Expression(f"{'ip' if v4 else 'ip6'} {direction} {'!= ' if negate else ''}{shown}", tuple(code))


def _ct(key: int, mask: int) -> tuple[bytes, ...]:
    raw = struct.pack("=I", mask)
    return _expression("ct", attr_be32(2, key), attr_be32(1, _REG_1)), _mask(raw), _cmp(bytes(4), negate=True)


def established() -> Expression:
    """`ct state established,related`."""
    return Expression("ct state established,related", _ct(_CT_STATE, _CT_ESTABLISHED_RELATED))


def translated() -> Expression:
    """`ct status dnat`."""
    return Expression("ct status dnat", _ct(_CT_STATUS, _IPS_DST_NAT))


def local_destination() -> Expression:
    """`fib daddr type local`."""
    fib = _expression("fib", attr_be32(1, _REG_1), attr_be32(2, _FIB_ADDRTYPE), attr_be32(3, _FIB_DADDR))
    return Expression("fib daddr type local", (fib, _cmp(struct.pack("=I", _RTN_LOCAL))))


def verdict(word: str, chain: str = "") -> Expression:
    """`accept`, `drop`, `return` or `jump chain`."""
    code = _expression("immediate", attr_be32(1, _REG_VERDICT), _verdict(2, word, chain))
    return Expression(f"{word} {chain}".strip(), (code,))


def masquerade() -> Expression:
    """`masquerade`: the source becomes the address of the interface the packet leaves by."""
    return Expression("masquerade", (_expression("masq"),))


def interface_verdict(direction: str, name: str) -> Expression:
    """`oifname vmap @name`."""
    key = _META_IIFNAME if direction == "iifname" else _META_OIFNAME
    lookup = _expression("lookup", attr_text(1, name), attr_be32(2, _REG_1), attr_be32(3, _REG_VERDICT))
    return Expression(f"{direction} vmap @{name}", (_meta(key), lookup))


def _port_key(version: int, *, with_address: bool) -> tuple[str, list[bytes]]:
    """`ip daddr . meta l4proto . th dport` in consecutive registers, behind a check of the family and protocol."""
    v4 = version == 4
    code = [_meta(_META_NFPROTO), _cmp(bytes([NFPROTO_IPV4 if v4 else NFPROTO_IPV6]))]
    register = _REG32
    text = "meta l4proto . th dport"
    if with_address:
        width = 4 if v4 else 16
        code.append(_payload(_PAYLOAD_NETWORK, 16 if v4 else 24, width, register))
        register += width // 4
        text = f"{'ip' if v4 else 'ip6'} daddr . {text}"
    code += [_meta(_META_L4PROTO, register), _payload(_PAYLOAD_TRANSPORT, 2, 2, register + 1)]
    return text, code


def port_in(version: int, name: str) -> Expression:
    """`ip daddr . meta l4proto . th dport @name`."""
    text, code = _port_key(version, with_address=True)
    lookup = _expression("lookup", attr_text(1, name), attr_be32(2, _REG32))
    return Expression(f"{text} @{name}", (*code, lookup))


def dnat_by(version: int, name: str, *, with_address: bool) -> Expression:
    """`dnat ip to ip daddr . meta l4proto . th dport map @name`; a miss leaves the rule."""
    text, code = _port_key(version, with_address=with_address)
    if not with_address:
        text = f"meta nfproto ipv{version} {text}"
    lookup = _expression("lookup", attr_text(1, name), attr_be32(2, _REG32), attr_be32(3, _REG32_DATA))
    nat = _expression(
        "nat",
        attr_be32(1, 1),
        attr_be32(2, NFPROTO_IPV4 if version == 4 else NFPROTO_IPV6),
        attr_be32(3, _REG32_DATA),
        attr_be32(5, _REG32_DATA + (1 if version == 4 else 4)),
    )
    return Expression(f"dnat {'ip' if version == 4 else 'ip6'} to {text} map @{name}", (*code, lookup, nat))


# -- set elements ------------------------------------------------------------------------------------------------------


def port_key(protocol: str, port: int, at: Address | None = None) -> tuple[str, bytes]:
    """The key of a port set: text and bytes, each part padded to a register."""
    raw = bytes([PROTOCOLS[protocol], 0, 0, 0]) + struct.pack("!Hxx", port)
    text = f"{protocol} . {port}"
    return (f"{at} . {text}", at.packed + raw) if at is not None else (text, raw)


def port_target(key: tuple[str, bytes], target: Address, port: int) -> Element:
    """A map element from a port key to address and port."""
    return Element(f"{key[0]} : {target} . {port}", key[1], _value(2, target.packed + struct.pack("!Hxx", port)))


def interface_jump(name: str, chain: str) -> Element:
    """A verdict map element from an interface to a chain."""
    return Element(f'"{name}" : jump {chain}', _ifname(name), _verdict(2, "jump", chain))


# -- requests ----------------------------------------------------------------------------------------------------------


def _request(command: int, flags: int, *attrs: bytes, family: int = NFPROTO_INET) -> bytes:
    return message((_SUBSYSTEM << 8) | command, flags, struct.pack("!BBH", family, 0, 0) + b"".join(attrs))


def batch_begin() -> bytes:
    """The mark before a transaction's requests."""
    return message(_BATCH_BEGIN, 0, struct.pack("!BBH", 0, 0, _SUBSYSTEM))


def batch_end() -> bytes:
    """The mark behind them: the kernel commits all or nothing."""
    return message(_BATCH_END, 0, struct.pack("!BBH", 0, 0, _SUBSYSTEM))


def get_chain(table: str, chain: str) -> bytes:
    """Ask for one chain; the kernel answers ENOENT when table or chain is missing."""
    return _request(_GETCHAIN, 0, attr_text(1, table), attr_text(3, chain))


def get_tables() -> bytes:
    """Ask for all tables of the family."""
    return _request(_GETTABLE, NLM_F_DUMP)


def add_table(table: str) -> bytes:
    """Make the table unless it is there."""
    return _request(_NEWTABLE, NLM_F_CREATE, attr_text(1, table))


def delete_table(table: str) -> bytes:
    """Delete the table with all in it."""
    return _request(_DELTABLE, 0, attr_text(1, table))


def _type_of(names: Sequence[str]) -> tuple[int, int]:
    if names == ("verdict",):
        return _DATA_VERDICT, 0
    number, length = 0, 0
    for name in names:
        kind, size = _TYPES[name]
        number = number << 6 | kind
        length += (size + 3) & ~3 if len(names) > 1 else size
    return number, length


def _add_set(table: str, item: Set, number: int) -> bytes:
    kind, length = _type_of(item.key)
    attrs = [attr_text(1, table), attr_text(2, item.name), attr_be32(10, number)]
    attrs += [attr_be32(3, _SET_MAP if item.data else 0), attr_be32(4, kind), attr_be32(5, length)]
    if item.data:
        kind, length = _type_of(item.data)
        attrs += [attr_be32(6, kind), attr_be32(7, length)]
    if item.key == ("ifname",):
        attrs.append(attr(13, _HOST_ORDER))
    return _request(_NEWSET, NLM_F_CREATE, *attrs)


def _elements(command: int, flags: int, table: str, name: str, elements: Sequence[Element]) -> Iterable[bytes]:
    for start in range(0, len(elements), _ELEMENTS_A_MESSAGE):
        part = [nested(1, _value(1, e.key), e.data) for e in elements[start : start + _ELEMENTS_A_MESSAGE]]
        yield _request(command, flags, attr_text(1, table), attr_text(2, name), nested(3, *part))


def add_elements(table: str, name: str, elements: Sequence[Element]) -> list[bytes]:
    """Add elements to a set."""
    return list(_elements(_NEWSETELEM, NLM_F_CREATE, table, name, elements))


def delete_elements(table: str, name: str, elements: Sequence[Element]) -> list[bytes]:
    """Delete elements of a set; one that is missing fails the transaction."""
    return list(_elements(_DELSETELEM, 0, table, name, elements))


def _add_chain(table: str, chain: Chain) -> bytes:
    attrs = [attr_text(1, table), attr_text(3, chain.name)]
    if chain.hook:
        hook = nested(4, attr_be32(1, _HOOKS[chain.hook]), attr(2, struct.pack("!i", chain.priority)))
        attrs += [hook, attr_be32(5, 1), attr_text(7, chain.kind)]
    return _request(_NEWCHAIN, NLM_F_CREATE, *attrs)


def replace_table(table: Table) -> list[bytes]:
    """Requests that put `table` in the place of what stands under its name, whatever that is."""
    return [add_table(table.name), delete_table(table.name), *create_table(table)]


def create_table(table: Table) -> list[bytes]:
    """Requests that make a table which is not there yet; they fail as a whole where its maps have other elements."""
    requests = [add_table(table.name), *(_add_chain(table.name, chain) for chain in table.chains)]
    for number, item in enumerate(table.sets, 1):
        requests.append(_add_set(table.name, item, number))
        requests += add_elements(table.name, item.name, item.elements)
    for chain in table.chains:
        for rule in chain.rules:
            code = nested(4, *[part for expression in rule for part in expression.code])
            attrs = (attr_text(1, table.name), attr_text(2, chain.name), code)
            requests.append(_request(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, *attrs))
    return requests
