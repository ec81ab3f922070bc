"""Expressions of rules that let through or reject: set look-ups, ranges of ports, log, reject; and what a bridge sees
of frames: Ethernet, ARP, neighbour discovery. Pure; daemon only.

In the bridge family there is no network protocol to ask for but the EtherType, so addresses have forms of their own.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence

from corten.linux.netlink import attr, attr_be32, attr_text
from corten.network import nft
from corten.network.nft import Address, Expression

ETH_ARP, ETH_IPV4, ETH_IPV6 = 0x0806, 0x0800, 0x86DD
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, REDIRECT = range(133, 138)
_PROTOCOL_NUMBERS = {**nft.PROTOCOLS, "icmpv6": 58}
_META_PROTOCOL, _META_IIFNAME, _META_OIFNAME, _META_NFPROTO, _META_L4PROTO, _META_PKTTYPE = 1, 6, 7, 15, 16, 19
_LINK, _NETWORK, _TRANSPORT = 0, 1, 2
_REG32 = 8
_IFNAME_WORDS = 4
_PACKET_HOST = b"\0"
_REJECT_TCP_RESET, _REJECT_ICMPX = 1, 2
_ICMPX_ADMIN_PROHIBITED = 3


def protocol(name: str) -> Expression:
    """`meta l4proto tcp`; behind extension headers too."""
    number = bytes([_PROTOCOL_NUMBERS[name]])
    return Expression(f"meta l4proto {name}", (nft.meta(_META_L4PROTO), nft.equals(number)))


def destination_ports(low: int, high: int) -> Expression:
    """`th dport 80-90`, behind a check of the protocol."""
    load = nft.payload(_TRANSPORT, 2, 2)
    first, last = struct.pack("!H", low), struct.pack("!H", high)
    if low == high:
        return Expression(f"th dport {low}", (load, nft.equals(first)))
    attrs = (attr_be32(1, 1), attr_be32(2, 0), nft.data_value(3, first), nft.data_value(4, last))
    return Expression(f"th dport {low}-{high}", (load, nft.expression("range", *attrs)))


def _address_load(version: int, direction: str) -> tuple[str, tuple[bytes, ...]]:
    width = 4 if version == 4 else 16
    offset = (12 if version == 4 else 8) + (width if direction == "daddr" else 0)
    family = nft.NFPROTO_IPV4 if version == 4 else nft.NFPROTO_IPV6
    check = (nft.meta(_META_NFPROTO), nft.equals(bytes([family])))
    text = f"{'ip' if version == 4 else 'ip6'} {direction}"
    return text, (*check, nft.payload(_NETWORK, offset, width))


def destination_in(version: int, name: str) -> Expression:
    """`ip daddr @name`."""
    text, load = _address_load(version, "daddr")
    return Expression(f"{text} @{name}", (*load, nft.expression("lookup", attr_text(1, name), attr_be32(2, 1))))


def source_verdict(version: int, name: str) -> Expression:
    """`ip saddr vmap @name`; a miss goes on behind the rule."""
    text, load = _address_load(version, "saddr")
    lookup = nft.expression("lookup", attr_text(1, name), attr_be32(2, 1), attr_be32(3, 0))
    return Expression(f"{text} vmap @{name}", (*load, lookup))


def interfaces_in(name: str) -> Expression:
    """`iifname . oifname @name`."""
    load = (nft.meta(_META_IIFNAME, _REG32), nft.meta(_META_OIFNAME, _REG32 + _IFNAME_WORDS))
    lookup = nft.expression("lookup", attr_text(1, name), attr_be32(2, _REG32))
    return Expression(f"iifname . oifname @{name}", (*load, lookup))


def not_for_us_alone() -> Expression:
    """`meta pkttype != host`: broadcast and multicast."""
    code = (nft.meta(_META_PKTTYPE), nft.equals(_PACKET_HOST, negate=True))
    return Expression("meta pkttype != host", code)


def limit(rate_a_second: int, burst: int) -> Expression:
    """`limit rate 5/second burst 10 packets`: goes on behind the rule when there were more."""
    attrs = (attr(1, struct.pack("!Q", rate_a_second)), attr(2, struct.pack("!Q", 1)), attr_be32(3, burst))
    text = f"limit rate {rate_a_second}/second burst {burst} packets"
    return Expression(text, (nft.expression("limit", *attrs, attr_be32(4, 0)),))


def log(group: int, length: int) -> Expression:
    """`log group 5 snaplen 128`: the packet's first bytes to who listens to this group (nfnetlink_log)."""
    code = nft.expression("log", attr(1, struct.pack("!H", group)), attr_be32(3, length))
    return Expression(f"log group {group} snaplen {length}", (code,))


def reject_reset() -> Expression:
    """`reject with tcp reset`."""
    code = nft.expression("reject", attr_be32(1, _REJECT_TCP_RESET), attr(2, b"\0"))
    return Expression("reject with tcp reset", (code,))


def reject_prohibited() -> Expression:
    """`reject with icmpx admin-prohibited`, in the family of the packet."""
    code = nft.expression("reject", attr_be32(1, _REJECT_ICMPX), attr(2, bytes([_ICMPX_ADMIN_PROHIBITED])))
    return Expression("reject with icmpx admin-prohibited", (code,))


# -- frames ------------------------------------------------------------------------------------------------------------


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ether_type(number: int) -> Expression:
    """`meta protocol 0x0800`: of a frame without VLAN tag."""
    raw = struct.pack("!H", number)
    return Expression(f"meta protocol {number:#06x}", (nft.meta(_META_PROTOCOL), nft.equals(raw)))


def other_ether_source(mac: str) -> Expression:
    """`ether saddr != mac`."""
    code = (nft.payload(_LINK, 6, 6), nft.equals(_mac(mac), negate=True))
    return Expression(f"ether saddr != {mac}", code)


def reserved_ether_destination() -> Expression:
    """`ether daddr 01:80:c2:00:00:00/44`: what a bridge gives to the host alone (IEEE 802.1D, 7.12.6)."""
    code = (nft.payload(_LINK, 0, 6), nft.masked(_mac("ff:ff:ff:ff:ff:f0")), nft.equals(_mac("01:80:c2:00:00:00")))
    return Expression("ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00", code)


def arp_sender_mac(mac: str) -> Expression:
    """`arp saddr ether mac`, of ARP for IPv4 over Ethernet alone."""
    form = (nft.payload(_NETWORK, 0, 6), nft.equals(bytes.fromhex("000108000604")))
    return Expression(f"arp saddr ether {mac}", (*form, nft.payload(_NETWORK, 8, 6), nft.equals(_mac(mac))))


def arp_sender(address: ipaddress.IPv4Address) -> Expression:
    """`arp saddr ip address`."""
    return Expression(f"arp saddr ip {address}", (nft.payload(_NETWORK, 14, 4), nft.equals(address.packed)))


def frame_source(address: Address) -> Expression:
    """`ip saddr address` of a frame whose type has been asked for."""
    width, offset = (4, 12) if address.version == 4 else (16, 8)
    text = f"{'ip' if address.version == 4 else 'ip6'} saddr {address}"
    return Expression(text, (nft.payload(_NETWORK, offset, width), nft.equals(address.packed)))


def frame_destination(network: nft.Prefix) -> Expression:
    """`ip daddr 172.18.0.0/16` of a frame whose type has been asked for."""
    width, offset = (4, 16) if network.version == 4 else (16, 24)
    code = (nft.payload(_NETWORK, offset, width), nft.masked(network.netmask.packed))
    text = f"{'ip' if network.version == 4 else 'ip6'} daddr {network}"
    return Expression(text, (*code, nft.equals(network.network_address.packed)))


def icmpv6_type(number: int) -> Expression:
    """`icmpv6 type 136`."""
    checked = protocol("icmpv6")
    code = (*checked.code, nft.payload(_TRANSPORT, 0, 1), nft.equals(bytes([number])))
    return Expression(f"icmpv6 type {number}", code)


def advertised_not_in(addresses: Sequence[ipaddress.IPv6Address]) -> Expression:
    """`icmpv6 type 136` with a target that is none of these."""
    kind = icmpv6_type(NEIGHBOUR_ADVERTISEMENT)
    code = [*kind.code, nft.payload(_TRANSPORT, 8, 16)]
    code += [nft.equals(address.packed, negate=True) for address in addresses]
    shown = ", ".join(map(str, addresses))
    return Expression(f"{kind.text} icmpv6 taddr != {{ {shown} }}", tuple(code))
