"""The desired nftables ruleset of an instance: networks and published ports in, one table out. Pure; daemon only.

One table of family inet. What changes with each container stands in sets and maps, so a start with published ports is
one small transaction and each packet costs a look-up, however many ports there are; what changes with networks is
rendered whole and replaced atomically. The rules, by hook:

raw       packets from outside that carry 127.0.0.0/8 are dropped (CVE-2020-8558, moby#41872: ports published on the
          loopback address were reachable from neighbours), so is direct access to container addresses behind NAT
          (moby#45610).
dstnat    a published host port becomes container address and port, for the host's own processes too.
forward   into a bridge: replies, its own containers (unless ICC is off) and published ports, else drop.
srcnat    containers leave with the host's address; hairpin and loopback access get the bridge's address, so that
          replies come back through the host.
guard     there when the daemon itself switched forwarding on: the host does not begin to route between its physical
          interfaces. Docker sets the whole FORWARD policy to drop; ours leaves other virtual networks alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from corten.network import nft
from corten.network.ipam import IPAddress, IPNetwork

GUARD_CHAIN = "forward-guard"
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_LOOPBACK6 = ipaddress.IPv6Network("::1/128")
_RAW, _DSTNAT, _FILTER, _SRCNAT = -300, -100, 0, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeRules:
    """What the rules must know of a bridge network."""

    bridge: str
    subnets: tuple[tuple[IPNetwork, IPAddress | None], ...]  # with the host's address in it
    masquerade: bool = True
    icc: bool = True
    internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRule:
    """One published port that is translated by the kernel."""

    protocol: str
    host_address: IPAddress  # the unspecified address for any
    host_port: int
    target: IPAddress
    target_port: int


def port_elements(ports: Sequence[PortRule]) -> dict[str, list[nft.Element]]:
    """Set name -> elements of these ports."""
    found: dict[str, list[nft.Element]] = {}
    for port in ports:
        version = port.target.version
        if port.host_address.is_unspecified:
            name, key = f"any{version}", nft.port_key(port.protocol, port.host_port)
        else:
            name, key = f"host{version}", nft.port_key(port.protocol, port.host_port, port.host_address)
        found.setdefault(name, []).append(nft.port_target(key, port.target, port.target_port))
        text, raw = nft.port_key(port.protocol, port.target_port, port.target)
        element = nft.Element(text, raw)
        exposed = found.setdefault(f"exposed{version}", [])
        if element not in exposed:
            exposed.append(element)
    return found


def build(name: str, bridges: Sequence[BridgeRules], ports: Sequence[PortRule], *, guard: bool) -> nft.Table:
    """The whole table."""
    elements = port_elements(ports)
    raw: list[nft.Rule] = [
        (nft.interface("iifname", "lo", negate=True), nft.address("daddr", _LOOPBACK), nft.verdict("drop")),
        (nft.interface("iifname", "lo", negate=True), nft.address("saddr", _LOOPBACK), nft.verdict("drop")),
    ]
    srcnat: list[nft.Rule] = []
    chains: list[nft.Chain] = []
    inward: list[nft.Element] = []
    outward: list[nft.Element] = []
    for bridge in bridges:
        raw += _direct_access(bridge)
        srcnat += _masquerade(bridge)
        chains.append(nft.Chain(f"to-{bridge.bridge}", tuple(_inward(bridge))))
        inward.append(nft.interface_jump(bridge.bridge, f"to-{bridge.bridge}"))
        if bridge.internal:
            leave = (nft.interface("oifname", bridge.bridge, negate=True), nft.verdict("drop"))
            chains.append(nft.Chain(f"from-{bridge.bridge}", (leave,)))
            outward.append(nft.interface_jump(bridge.bridge, f"from-{bridge.bridge}"))
    publish = (nft.local_destination(), nft.verdict("jump", "publish"))
    # a packet from ::1 cannot leave by a bridge, IPv6 has no route_localnet: the port's own socket takes it
    here = (nft.address("daddr", _LOOPBACK6), nft.verdict("return"))
    chains += [
        nft.Chain("publish", tuple(_publish())),
        nft.Chain("raw-prerouting", tuple(raw), "filter", "prerouting", _RAW),
        nft.Chain("prerouting", (publish,), "nat", "prerouting", _DSTNAT),
        nft.Chain("output", (here, publish), "nat", "output", _DSTNAT),
        nft.Chain("forward", _forward(), "filter", "forward", _FILTER),
        nft.Chain("postrouting", tuple(srcnat), "nat", "postrouting", _SRCNAT),
    ]
    if guard:
        chains.append(nft.Chain(GUARD_CHAIN, _guard(), "filter", "forward", _FILTER + 1))
    sets = [nft.Set("inward", ("ifname",), ("verdict",), tuple(inward))]
    sets.append(nft.Set("outward", ("ifname",), ("verdict",), tuple(outward)))
    for version in (4, 6):
        address, port = f"ipv{version}_addr", ("inet_proto", "inet_service")
        target = (address, "inet_service")
        sets.append(nft.Set(f"host{version}", (address, *port), target, tuple(elements.get(f"host{version}", ()))))
        sets.append(nft.Set(f"any{version}", port, target, tuple(elements.get(f"any{version}", ()))))
        sets.append(nft.Set(f"exposed{version}", (address, *port), (), tuple(elements.get(f"exposed{version}", ()))))
    return nft.Table(name, tuple(sets), tuple(chains))


def _direct_access(bridge: BridgeRules) -> list[nft.Rule]:
    """Only the bridge itself brings packets for its containers, unless their addresses are routed."""
    if not (bridge.masquerade or bridge.internal):
        return []
    rules: list[nft.Rule] = []
    for subnet, gateway in bridge.subnets:
        parts = [nft.interface("iifname", bridge.bridge, negate=True), nft.address("daddr", subnet)]
        if gateway is not None:
            parts.append(nft.address("daddr", ipaddress.ip_network(gateway), negate=True))
        rules.append((*parts, nft.verdict("drop")))
    return rules


def _masquerade(bridge: BridgeRules) -> list[nft.Rule]:
    rules: list[nft.Rule] = []
    out = nft.interface("oifname", bridge.bridge)
    for subnet, _gateway in bridge.subnets:
        source = nft.address("saddr", subnet)
        if bridge.masquerade and not bridge.internal:
            away = nft.interface("oifname", bridge.bridge, negate=True)
            rules.append((source, away, nft.masquerade()))
        rules.append((source, out, nft.translated(), nft.masquerade()))
    rules.append((out, nft.address("saddr", _LOOPBACK), nft.masquerade()))
    return rules


def _inward(bridge: BridgeRules) -> list[nft.Rule]:
    own = nft.interface("iifname", bridge.bridge)
    rules: list[nft.Rule] = [(nft.established(), nft.verdict("accept"))]
    if bridge.internal:
        rules.append((nft.interface("iifname", bridge.bridge, negate=True), nft.verdict("drop")))
    if bridge.icc:
        rules.append((own, nft.verdict("accept")))
    else:
        rules += [(own, nft.translated(), nft.verdict("accept")), (own, nft.verdict("drop"))]
    rules += [(nft.port_in(version, f"exposed{version}"), nft.verdict("accept")) for version in (4, 6)]
    rules.append((nft.verdict("drop"),))
    return rules


def _publish() -> list[nft.Rule]:
    return [
        (nft.dnat_by(version, name, with_address=with_address),)
        for version in (4, 6)
        for name, with_address in ((f"host{version}", True), (f"any{version}", False))
    ]


def _forward() -> tuple[nft.Rule, ...]:
    return (nft.interface_verdict("oifname", "inward"),), (nft.interface_verdict("iifname", "outward"),)


def _guard() -> tuple[nft.Rule, ...]:
    return (
        (nft.virtual_interface("iifkind"), nft.verdict("accept")),
        (nft.virtual_interface("oifkind"), nft.verdict("accept")),
        (nft.verdict("drop"),),
    )
