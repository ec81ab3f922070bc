"""nftables as data: expressions, rules, sets and tables, each also as the text `nft list` shows. Pure; daemon only.

The wire format is that of include/uapi/linux/netfilter/nf_tables.h; numbers are in network order. Knows nothing of
networks: `network.ruleset` says which rules there are, `network.nft_requests` makes requests of them.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field

from corten.linux.netlink import attr, attr_be32, attr_text, nested

NFPROTO_INET = 1
NFPROTO_IPV4 = 2
NFPROTO_BRIDGE = 7
NFPROTO_IPV6 = 10


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
_FIB_OIF, _FIB_ADDRTYPE = 1, 3
_FIB_SADDR, _FIB_DADDR, _FIB_IIF = 1, 2, 8
_RTN_LOCAL = 2

_VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "return": -5}

_FAMILIES = {NFPROTO_INET: "inet", NFPROTO_BRIDGE: "bridge"}
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
    """A key, and for maps its data or verdict: what nft would print, and the bytes. In a set of intervals `end` marks
    the first key behind one; with `timeout_ms` the element goes by itself."""

    text: str
    key: bytes
    data: bytes = b""
    end: bool = False
    timeout_ms: int = 0


@dataclass(frozen=True, slots=True)
class Set:
    """A set, or a map when `data` names a type ("verdict" for verdict maps)."""

    name: str
    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    elements: tuple[Element, ...] = ()
    intervals: bool = False
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A whole table."""

    name: str
    sets: tuple[Set, ...] = ()
    chains: tuple[Chain, ...] = field(default=())
    family: int = NFPROTO_INET

    def text(self) -> str:
        """The table as `nft list table` would show it, near enough to read and to compare."""
        lines = [f"table {_FAMILIES[self.family]} {self.name} {{"]
        for item in self.sets:
            data = f" : {' . '.join(item.data)}" if item.data else ""
            lines += [f"\t{'map' if item.data else 'set'} {item.name} {{", f"\t\ttype {' . '.join(item.key)}{data}"]
            if flags := [f for f, on in (("interval", item.intervals), ("timeout", item.timed)) if on]:
                lines.append(f"\t\tflags {','.join(flags)}")
            lines += [f"\t\t{element.text}" for element in item.elements if not element.end] + ["\t}"]
        for chain in self.chains:
            lines.append(f"\tchain {chain.name} {{")
            if chain.hook:
                lines.append(f"\t\ttype {chain.kind} hook {chain.hook} priority {chain.priority}; policy accept;")
            lines += ["\t\t" + " ".join(part.text for part in rule) for rule in chain.rules] + ["\t}"]
        return "\n".join([*lines, "}", ""])


# -- expressions -------------------------------------------------------------------------------------------------------


def _expression(name: str, *attrs: bytes) -> bytes:
    return nested(1, attr_text(1, name), nested(2, *attrs))


def data_value(kind: int, value: bytes) -> bytes:
    """Bytes as the kernel's NFTA_DATA_VALUE, in an attribute `kind`."""
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
    return _expression("cmp", attr_be32(1, _REG_1), attr_be32(2, int(negate)), data_value(3, value))


def _mask(mask: bytes) -> bytes:
    zero = bytes(len(mask))
    attrs = [attr_be32(1, _REG_1), attr_be32(2, _REG_1), attr_be32(3, len(mask))]
    attrs += [data_value(4, mask), data_value(5, zero)]
    return _expression("bitwise", *attrs)


# what other files make expressions of
expression, meta, payload, equals, masked = _expression, _meta, _payload, _cmp, _mask


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


def unroutable_source(version: int) -> Expression:
    """`fib saddr . iif oif missing`: the host has no route back to the source by the interface the packet came from."""
    family = NFPROTO_IPV4 if version == 4 else NFPROTO_IPV6
    flags = attr_be32(3, _FIB_SADDR | _FIB_IIF)
    fib = _expression("fib", attr_be32(1, _REG_1), attr_be32(2, _FIB_OIF), flags)
    code = (_meta(_META_NFPROTO), _cmp(bytes([family])), fib, _cmp(bytes(4)))
    return Expression(f"meta nfproto ipv{version} fib saddr . iif oif missing", code)


def protocol_version(version: int) -> Expression:
    """`meta nfproto ipv4` or `ipv6`."""
    family = NFPROTO_IPV4 if version == 4 else NFPROTO_IPV6
    return Expression(f"meta nfproto ipv{version}", (_meta(_META_NFPROTO), _cmp(bytes([family]))))


def ping(version: int) -> Expression:
    """`meta nfproto ipv4 meta l4proto icmp`, or ICMPv6."""
    name, number = ("icmp", 1) if version == 4 else ("ipv6-icmp", 58)
    of_family = protocol_version(version)
    return Expression(
        f"{of_family.text} meta l4proto {name}", (*of_family.code, _meta(_META_L4PROTO), _cmp(bytes([number])))
    )


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


def port_verdict(version: int, name: str, *, with_address: bool) -> Expression:
    """`ip daddr . meta l4proto . th dport vmap @name`; a miss goes on behind the rule."""
    text, code = _port_key(version, with_address=with_address)
    if not with_address:
        text = f"meta nfproto ipv{version} {text}"
    lookup = _expression("lookup", attr_text(1, name), attr_be32(2, _REG32), attr_be32(3, _REG_VERDICT))
    return Expression(f"{text} vmap @{name}", (*code, lookup))


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
    return Element(f"{key[0]} : {target} . {port}", key[1], data_value(2, target.packed + struct.pack("!Hxx", port)))


def port_jump(key: tuple[str, bytes], chain: str) -> Element:
    """A verdict map element from a port key to a chain."""
    return Element(f"{key[0]} : jump {chain}", key[1], _verdict(2, "jump", chain))


def interface_jump(name: str, chain: str) -> Element:
    """A verdict map element from an interface to a chain."""
    return Element(f'"{name}" : jump {chain}', _ifname(name), _verdict(2, "jump", chain))


def interface_drop(name: str) -> Element:
    """A verdict map element that drops what an interface brings."""
    return Element(f'"{name}" : drop', _ifname(name), _verdict(2, "drop"))


def interface_pair(inward: str, outward: str) -> Element:
    """A set element of two interfaces."""
    return Element(f'"{inward}" . "{outward}"', _ifname(inward) + _ifname(outward))


def address_jump(at: Address, chain: str) -> Element:
    """A verdict map element from an address to a chain."""
    return Element(f"{at} : jump {chain}", at.packed, _verdict(2, "jump", chain))


def timed_address(at: Address, timeout_ms: int) -> Element:
    """A set element that goes after a while."""
    return Element(f"{at} timeout {timeout_ms}ms", at.packed, timeout_ms=timeout_ms)


def interval(prefix: Prefix) -> list[Element]:
    """A range in a set of intervals: where it begins, and the first address behind it if there is one."""
    elements = [Element(str(prefix), prefix.network_address.packed)]
    last = int(prefix.broadcast_address)
    if last + 1 < 1 << prefix.max_prefixlen:
        elements.append(Element("", (last + 1).to_bytes(prefix.max_prefixlen // 8, "big"), end=True))
    return elements
