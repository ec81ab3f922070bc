"""The packet filter rules of egress lists: what is limited in, two tables out. Pure; daemon only.

They are tables of their own, beside that of `network.ruleset`: made with the first list and gone with the last, changed
without touching what networks and ports have, and as strict when another table lets a packet through. In both stands:

inet     egress-forward and egress-input: a new connection from a limited address, or by a limited network's bridge,
         goes through the chain of its list: back when it may go on, else logged (a few a second) and rejected. Names
         count for what is forwarded alone, so an address of the host that a name gave leads nowhere. A packet that a
         container's list and its network's list concern passes both. Sources are addresses, not interfaces: a
         destination is what the packet has after translation of published ports.
bridge   what ties an address to the container: its port of the bridge takes frames with its own MAC and addresses
         alone, in IPv4, ARP, IPv6 and neighbour discovery, and no other protocol. Link-local IPv6 serves neighbour
         discovery and group membership, no more. Others on the bridge get what is for the network's own addresses or
         the link: neither a neighbour nor another host of a vxlan network is a router past the lists. Frames to the
         reserved group addresses (01:80:c2:...) are dropped: a bridge gives them to the host as if they came by the
         port itself, past what is said of bridges.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from corten.network import nft, nft_filter
from corten.network.egress import EgressList, Ports
from corten.network.ipam import IPAddress, IPNetwork

_BRIDGE_PRIORITY = -300  # before br_netfilter, which shows frames to the inet tables
_PRIORITY = -10  # before the chains of other tables that might count on who was let through; a reject is final anyway
_LOG_RATE, _LOG_BURST = 5, 10  # a list, a second
_LOG_BYTES = 128
_UNSPECIFIED4 = ipaddress.IPv4Address("0.0.0.0")
_UNSPECIFIED6 = ipaddress.IPv6Address("::")
_OF_LINK4 = (ipaddress.IPv4Network("224.0.0.0/4"), ipaddress.IPv4Network("255.255.255.255"))
_OF_LINK6 = (ipaddress.IPv6Network("fe80::/10"), ipaddress.IPv6Network("ff00::/8"))
_TO_HOST_KERNEL = (
    nft_filter.ROUTER_SOLICITATION,
    nft_filter.NEIGHBOUR_SOLICITATION,
    nft_filter.NEIGHBOUR_ADVERTISEMENT,
)
_LINK_LOCAL_TYPES = (
    130,
    131,
    132,
    143,
    *_TO_HOST_KERNEL,
)  # multicast listeners (RFC 2710, 3810), neighbours (RFC 4861)

Admitted = Mapping[str, Mapping[IPAddress, int]]
"""Name of a set -> address -> milliseconds that it stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPort:
    """A bridge port, and what it may send from: the MAC and all addresses of its container; and to, without the host:
    the network's subnets."""

    veth: str
    mac: str
    addresses: tuple[IPAddress, ...]
    subnets: tuple[IPNetwork, ...]

    def addresses4(self) -> list[ipaddress.IPv4Address]:
        """Those of IPv4."""
        return [a for a in self.addresses if isinstance(a, ipaddress.IPv4Address)]

    def addresses6(self) -> list[ipaddress.IPv6Address]:
        """Those of IPv6."""
        return [a for a in self.addresses if isinstance(a, ipaddress.IPv6Address)]

    def link_local(self) -> ipaddress.IPv6Address:
        """What the kernel makes of the MAC (RFC 4291, appendix A)."""
        raw = bytes.fromhex(self.mac.replace(":", ""))
        return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Everything that is limited. Lists have keys; `sources` and `bridges` say which key is whose. `own` are bridges
    within which lists say nothing."""

    lists: Mapping[str, EgressList] = field(default_factory=dict)
    sources: Mapping[IPAddress, str] = field(default_factory=dict)
    bridges: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    ports: frozenset[BoundPort] = frozenset()

    def without(self, gone: Limits) -> Limits:
        """All but these."""
        return Limits(
            lists={key: value for key, value in self.lists.items() if key not in gone.lists},
            sources={key: value for key, value in self.sources.items() if key not in gone.sources},
            bridges={key: value for key, value in self.bridges.items() if key not in gone.bridges},
            own=self.own - gone.own,
            ports=self.ports - gone.ports,
        )

    def joined(self, more: Limits) -> Limits:
        """All of both."""
        return Limits(
            lists={**self.lists, **more.lists},
            sources={**self.sources, **more.sources},
            bridges={**self.bridges, **more.bridges},
            own=self.own | more.own,
            ports=self.ports | more.ports,
        )


NO_LIMITS = Limits()


def difference(old: Limits, new: Limits, others: Sequence[Limits]) -> tuple[Limits, Limits]:
    """What goes and what comes when a container's share changes, of all that is limited: what `others` have stays, and
    is there already."""
    gone, added = old.without(new), new.without(old)
    both = gone.joined(added)
    held = Limits(
        lists={key: value for key, value in both.lists.items() if any(key in other.lists for other in others)},
        bridges={key: value for key, value in both.bridges.items() if any(key in other.bridges for other in others)},
        own=frozenset(bridge for bridge in both.own if any(bridge in other.own for other in others)),
    )
    return gone.without(held), added.without(held)


def names_set(key: str, number: int, version: int) -> str:
    """The set with the addresses of names at the ports `EgressList.ports()[number]`."""
    return f"names{number}v{version}-{key}"


def _ranges_set(key: str, number: int, version: int) -> str:
    return f"ranges{number}v{version}-{key}"


SHARED = frozenset(
    {"own", "ports", "bridged", "reserved"}
    | {f"{hook}-{of}" for hook in ("forward", "input") for of in ("by", "from4", "from6")}
)
"""The sets whose elements are of several lists and ports; all others are of one."""


def build(table: str, limits: Limits, admitted: Admitted, *, log_group: int | None) -> tuple[nft.Table, nft.Table]:
    """The tables of the families inet and bridge. Without `log_group` nothing is logged."""
    inet, bridge = parts(table, limits, admitted, log_group=log_group)
    reserved = (nft_filter.reserved_ether_destination(), nft.interface_verdict("iifname", "reserved"))
    frames = (nft.interface_verdict("iifname", "ports"),)
    bridged = (nft.interface_verdict("iifname", "bridged"),)
    bases = (
        *_ipv6_chains(),
        nft.Chain("frames", (frames,), "filter", "prerouting", _BRIDGE_PRIORITY),
        nft.Chain("bridged-frames", (bridged,), "filter", "forward", _BRIDGE_PRIORITY),
        nft.Chain("reserved-groups", (reserved,), "filter", "input", _BRIDGE_PRIORITY),
    )
    return (
        replace(inet, chains=(*inet.chains, _base_chain("forward"), _base_chain("input"))),
        replace(bridge, chains=(*bridge.chains, *bases)),
    )


def parts(table: str, limits: Limits, admitted: Admitted, *, log_group: int | None) -> tuple[nft.Table, nft.Table]:
    """What `build` has but for the base chains: what comes and goes with lists and ports."""
    sets = [nft.Set("own", ("ifname", "ifname"), (), tuple(nft.interface_pair(b, b) for b in sorted(limits.own)))]
    chains: list[nft.Chain] = []
    for key, listed in limits.lists.items():
        sets += _list_sets(key, listed, admitted)
        chains += _list_chains(key, listed, log_group)
    for hook in ("forward", "input"):
        by = tuple(nft.interface_jump(bridge, f"{hook}-{key}") for bridge, key in limits.bridges.items())
        sets.append(nft.Set(f"{hook}-by", ("ifname",), ("verdict",), by))
        for version in (4, 6):
            jumps = [nft.address_jump(a, f"{hook}-{key}") for a, key in limits.sources.items() if a.version == version]
            sets.append(nft.Set(f"{hook}-from{version}", (f"ipv{version}_addr",), ("verdict",), tuple(jumps)))
    return nft.Table(table, tuple(sets), tuple(chains)), _bridge_table(table, limits.ports)


def _list_sets(key: str, listed: EgressList, admitted: Admitted) -> list[nft.Set]:
    sets = []
    for number, ports in enumerate(listed.ports()):
        for version in (4, 6):
            family = (f"ipv{version}_addr",)
            if ranges := listed.ranges_at(ports, version):
                elements = [element for network in ranges for element in nft.interval(network)]
                sets.append(nft.Set(_ranges_set(key, number, version), family, (), tuple(elements), intervals=True))
            if any(at == ports for _name, at in listed.names):
                name = names_set(key, number, version)
                timed = tuple(nft.timed_address(a, ms) for a, ms in admitted.get(name, {}).items())
                sets.append(nft.Set(name, family, (), timed, timed=True))
    return sets


def _list_chains(key: str, listed: EgressList, log_group: int | None) -> list[nft.Chain]:
    """`forward-KEY`: what its names gave, then as `input-KEY`: its ranges, or the end."""
    names: list[nft.Rule] = []
    ranges: list[nft.Rule] = []
    for number, ports in enumerate(listed.ports()):
        for version in (4, 6):
            if any(at == ports for _name, at in listed.names):
                names += _let_through(ports, version, names_set(key, number, version))
            if listed.ranges_at(ports, version):
                ranges += _let_through(ports, version, _ranges_set(key, number, version))
    end: list[nft.Rule] = [(nft_filter.not_for_us_alone(), nft.verdict("drop"))]  # the host's copy of a broadcast
    if log_group is not None:
        end.append((nft_filter.limit(_LOG_RATE, _LOG_BURST), nft_filter.log(log_group, _LOG_BYTES)))
    # with br_netfilter the kernel puts a reset on the wire as it is, without translating it back: ICMP instead
    end.append((nft.translated(), nft_filter.reject_prohibited()))
    end += [(nft_filter.protocol("tcp"), nft_filter.reject_reset()), (nft_filter.reject_prohibited(),)]
    as_input = (nft.verdict("jump", f"input-{key}"),)
    return [nft.Chain(f"input-{key}", (*ranges, *end)), nft.Chain(f"forward-{key}", (*names, as_input))]


def _let_through(ports: Ports, version: int, name: str) -> list[nft.Rule]:
    listed, back = nft_filter.destination_in(version, name), nft.verdict("return")
    if not ports.low:
        return [(listed, back)]
    at = nft_filter.destination_ports(ports.low, ports.high)
    return [(nft_filter.protocol(protocol), at, listed, back) for protocol in ports.protocols]


def _base_chain(hook: str) -> nft.Chain:
    rules: list[nft.Rule] = [(nft.established(), nft.verdict("accept"))]
    if hook == "forward":
        rules.append((nft_filter.interfaces_in("own"), nft.verdict("accept")))
    else:
        rules += [(nft_filter.icmpv6_type(number), nft.verdict("accept")) for number in _TO_HOST_KERNEL]
    rules += [(nft_filter.source_verdict(version, f"{hook}-from{version}"),) for version in (4, 6)]
    rules.append((nft.interface_verdict("iifname", f"{hook}-by"),))
    return nft.Chain(f"egress-{hook}", tuple(rules), "filter", hook, _PRIORITY)


def _bridge_table(table: str, limited: frozenset[BoundPort]) -> nft.Table:
    ports = sorted(limited, key=lambda port: port.veth)
    jumps = tuple(nft.interface_jump(port.veth, f"port-{port.veth}") for port in ports)
    onward = tuple(nft.interface_jump(port.veth, f"bridged-{port.veth}") for port in ports)
    drops = tuple(nft.interface_drop(port.veth) for port in ports)
    sets = (
        nft.Set("ports", ("ifname",), ("verdict",), jumps),
        nft.Set("bridged", ("ifname",), ("verdict",), onward),
        nft.Set("reserved", ("ifname",), ("verdict",), drops),
    )
    chains = [nft.Chain(f"port-{port.veth}", tuple(_port_rules(port))) for port in ports]
    chains += [nft.Chain(f"bridged-{port.veth}", tuple(_bridged_rules(port))) for port in ports]
    return nft.Table(table, sets, tuple(chains), nft.NFPROTO_BRIDGE)


def _port_rules(port: BoundPort) -> list[nft.Rule]:
    """What packets need first: each frame goes through these."""
    accept, drop = nft.verdict("accept"), nft.verdict("drop")
    arp = (nft_filter.ether_type(nft_filter.ETH_ARP), nft_filter.arp_sender_mac(port.mac))
    v4, v6 = nft_filter.ether_type(nft_filter.ETH_IPV4), nft_filter.ether_type(nft_filter.ETH_IPV6)
    local = port.link_local()
    rules: list[nft.Rule] = [(nft_filter.other_ether_source(port.mac), drop)]
    rules += [(v4, nft_filter.frame_source(address), accept) for address in port.addresses4()]
    rules.append((v6, nft.verdict("jump", "routers")))
    rules.append((v6, nft_filter.advertised_not_in([*port.addresses6(), local]), drop))
    rules += [(v6, nft_filter.frame_source(address), accept) for address in port.addresses6()]
    link = nft.verdict("jump", "link-local")
    rules += [(v6, nft_filter.frame_source(source), link) for source in (local, _UNSPECIFIED6)]
    # a probe for an address that is not its own yet has no sender (RFC 5227)
    rules += [(*arp, nft_filter.arp_sender(address), accept) for address in (*port.addresses4(), _UNSPECIFIED4)]
    return [*rules, (drop,)]


def _bridged_rules(port: BoundPort) -> list[nft.Rule]:
    """What goes to other ports of the bridge: the network's own addresses, and what is for the link."""
    rules: list[nft.Rule] = []
    for version, kind, of_link in ((4, nft_filter.ETH_IPV4, _OF_LINK4), (6, nft_filter.ETH_IPV6, _OF_LINK6)):
        of_kind = nft_filter.ether_type(kind)
        own = (*(subnet for subnet in port.subnets if subnet.version == version), *of_link)
        rules += [(of_kind, nft_filter.frame_destination(network), nft.verdict("accept")) for network in own]
        rules.append((of_kind, nft.verdict("drop")))
    return rules


def _ipv6_chains() -> tuple[nft.Chain, ...]:
    """What all ports have in common: nobody is a router, and link-local addresses serve the link."""
    accept, drop = nft.verdict("accept"), nft.verdict("drop")
    routers = [(nft_filter.icmpv6_type(n), drop) for n in (nft_filter.ROUTER_ADVERTISEMENT, nft_filter.REDIRECT)]
    link = [(nft_filter.icmpv6_type(number), accept) for number in _LINK_LOCAL_TYPES]
    return nft.Chain("routers", tuple(routers)), nft.Chain("link-local", tuple(link))
