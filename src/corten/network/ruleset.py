"""The desired nftables ruleset of an instance: networks and published ports in, one table out. Pure; daemon only.

One table of family inet. What changes with each container stands in sets and maps, so a start with published ports is
one small transaction and each packet costs a look-up, however many ports there are; what changes with networks is
rendered whole and replaced atomically. The rules, by hook:

raw       packets from outside that carry 127.0.0.0/8 are dropped (CVE-2020-8558, moby#41872: ports published on the
          loopback address were reachable from neighbours), so is direct access to container addresses behind NAT
          (moby#45610).
spoofed   what a container sends from an address that is not reached by its own bridge is dropped, unless it answers:
          one that is in two networks answers by its default gateway, from either address.
dstnat    a published host port becomes container address and port, for the host's own processes too; before that,
          ports with a source list drop what comes from elsewhere. Ports that several members of a service publish
          are spread over those that serve, and so are the services' own addresses, for the host's processes.
forward   into a bridge: replies, its own containers (unless ICC is off) and published ports, else drop.
srcnat    containers leave with the host's address; hairpin and loopback access get the bridge's address, so that
          replies come back through the host.
strangers there with vxlan networks: their packets are taken from peers alone; and smuggled: no container sends a peer
          any, which would take them for this host's.
guard     there when the daemon itself switched forwarding on: the host does not begin to route between its physical
          interfaces. Docker sets the whole FORWARD policy to drop; ours leaves other virtual networks alone.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corten.network import nft, vxlan_rules
from corten.network.balancing import Backend, Service
from corten.network.config import GatewayMode
from corten.network.ipam import IPAddress, IPNetwork
from corten.network.nft_balancing import Counts, Spread, parts
from corten.network.vxlan import Underlay

GUARD_CHAIN = "forward-guard"
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_LOOPBACK6 = ipaddress.IPv6Network("::1/128")
_RAW, _MANGLE, _DSTNAT, _FILTER, _SRCNAT = -300, -150, -100, 0, 100
_MASQUERADED = (GatewayMode.NAT, GatewayMode.NAT_UNPROTECTED)
_DIRECT = (GatewayMode.NAT_UNPROTECTED, GatewayMode.ROUTED)  # others may send to the containers' own addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeRules:
    """What the rules must know of a bridge network."""

    bridge: str
    subnets: tuple[tuple[IPNetwork, IPAddress | None], ...]  # with the host's address in it
    masquerade: bool = True
    icc: bool = True
    internal: bool = False
    gateway_modes: Mapping[int, GatewayMode] = field(default_factory=dict)
    underlay: Underlay | None = None  # of a vxlan network

    def mode(self, version: int) -> GatewayMode:
        """The gateway mode of a family."""
        return self.gateway_modes.get(version, GatewayMode.NAT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortRule:
    """One published port.

    `host_port` 0: not translated, the container's own address is reached (routed). No `target`: not translated by the
    kernel, only the source list is kept for the relay. `sources` None: from anywhere. `service`: the key of the service
    whose members share the port.
    """

    protocol: str
    host_address: IPAddress  # the unspecified address for any
    host_port: int
    target: IPAddress | None
    target_port: int
    sources: tuple[IPNetwork, ...] | None = None
    service: str = ""


def port_elements(ports: Sequence[PortRule]) -> dict[str, list[nft.Element]]:
    """Set name -> elements of these ports, each once."""
    found: dict[str, dict[nft.Element, None]] = {}
    for port in ports:
        version = port.host_address.version
        any_address = port.host_address.is_unspecified
        key = nft.port_key(port.protocol, port.host_port, None if any_address else port.host_address)
        if port.sources is not None:
            name = f"sources-any{version}" if any_address else f"sources{version}"
            found.setdefault(name, {})[nft.port_jump(key, _source_chain(port.sources))] = None
        if port.target is None:
            continue
        if port.host_port and not port.service:
            name = f"any{version}" if any_address else f"host{version}"
            found.setdefault(name, {})[nft.port_target(key, port.target, port.target_port)] = None
        exposed = nft.Element(*nft.port_key(port.protocol, port.target_port, port.target))
        found.setdefault(f"exposed{version}", {})[exposed] = None
    return {name: list(elements) for name, elements in found.items()}


def _source_chain(sources: Sequence[IPNetwork]) -> str:
    """A name that says what the chain lets through, and is no longer than the kernel takes (NFT_NAME_MAXLEN 256)."""
    return "from-" + hashlib.sha256(" ".join(map(str, sources)).encode()).hexdigest()[:16]


def spreads(ports: Sequence[PortRule], services: Mapping[str, Service]) -> list[Spread]:
    """What is spread on the host: the addresses of services, and the ports that their members share."""
    found = [
        Spread(address=address, balance=service.balance, backends=service.backends(address.version))
        for service in services.values()
        for address in service.addresses
    ]
    shared: dict[tuple[str, str, IPAddress, int], list[PortRule]] = {}
    for port in ports:
        if port.service and port.host_port and port.target is not None:
            shared.setdefault((port.service, port.protocol, port.host_address, port.host_port), []).append(port)
    for (key, protocol, address, number), rules in shared.items():
        service = services.get(key, Service())
        serving = {backend.address: backend.weight for backend in service.backends(address.version)}
        backends = tuple(
            Backend(address=rule.target, port=rule.target_port, weight=serving[rule.target])
            for rule in rules
            if rule.target in serving
        )
        found.append(
            Spread(address=address, protocol=protocol, port=number, balance=service.balance, backends=backends)
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaying:
    """What is left to the ports' own sockets, which relay it: `outside` all that does not come from the host itself,
    `closed_bridges` what comes from networks without ICC."""

    outside: bool = False
    closed_bridges: bool = False


NOTHING_RELAYED = Relaying()


def build(
    name: str,
    bridges: Sequence[BridgeRules],
    ports: Sequence[PortRule],
    *,
    guard: bool,
    relaying: Relaying = NOTHING_RELAYED,
    spread: Sequence[Spread] = (),
    counts: Counts | None = None,
) -> nft.Table:
    """The whole table. `guard`: with the guard chain; `counts`: what the slots of `spread` had counted before."""
    balanced = parts(spread, counts)
    # each packet meets these: the address, which hardly ever matches, is compared before the name of the interface
    raw: list[nft.Rule] = [
        (nft.address("daddr", _LOOPBACK), nft.interface("iifname", "lo", negate=True), nft.verdict("drop")),
        (nft.address("saddr", _LOOPBACK), nft.interface("iifname", "lo", negate=True), nft.verdict("drop")),
    ]
    spoofed: list[nft.Rule] = [(nft.established(), nft.verdict("accept"))]
    srcnat: list[nft.Rule] = []
    chains: list[nft.Chain] = []
    inward: list[nft.Element] = []
    outward: list[nft.Element] = []
    for bridge in bridges:
        raw += _direct_access(bridge)
        spoofed += _spoofed(bridge)
        srcnat += _masquerade(bridge)
        chains.append(nft.Chain(f"to-{bridge.bridge}", tuple(_inward(bridge))))
        inward.append(nft.interface_jump(bridge.bridge, f"to-{bridge.bridge}"))
        if bridge.internal:
            leave = (nft.interface("oifname", bridge.bridge, negate=True), nft.verdict("drop"))
            chains.append(nft.Chain(f"from-{bridge.bridge}", (leave,)))
            outward.append(nft.interface_jump(bridge.bridge, f"from-{bridge.bridge}"))
    publish = (nft.local_destination(), nft.verdict("jump", "publish"))
    translated = [] if relaying.outside else [publish]
    if relaying.closed_bridges and translated:
        # with br_netfilter a translated frame is bridged from port to port, which isolated ports never do
        closed = [nft.interface("iifname", bridge.bridge) for bridge in bridges if not bridge.icc]
        translated = [*((port, nft.verdict("return")) for port in closed), publish]
    # a packet from ::1 cannot leave by a bridge, IPv6 has no route_localnet: the port's own socket takes it
    here = (nft.address("daddr", _LOOPBACK6), nft.verdict("return"))
    chains += [
        *_source_chains(ports),
        *balanced.chains,
        nft.Chain("publish", (*balanced.to_ports, *_publish())),
        nft.Chain("raw-prerouting", tuple(raw), "filter", "prerouting", _RAW),
        nft.Chain("spoofed", tuple(spoofed), "filter", "prerouting", _MANGLE),
        nft.Chain("prerouting", (*_sources(), *translated), "nat", "prerouting", _DSTNAT),
        nft.Chain("output", (here, *balanced.to_services, publish), "nat", "output", _DSTNAT),
        nft.Chain("forward", _forward(), "filter", "forward", _FILTER),
        nft.Chain("postrouting", tuple(srcnat), "nat", "postrouting", _SRCNAT),
    ]
    underlays = [bridge.underlay for bridge in bridges if bridge.underlay is not None]
    chains += vxlan_rules.peer_chains(underlays)
    if guard:
        chains.append(nft.Chain(GUARD_CHAIN, _guard(), "filter", "forward", _FILTER + 1))
    sets = (*_sets(inward, outward, port_elements(ports)), *vxlan_rules.peer_sets(underlays), *balanced.sets)
    return nft.Table(name, sets, tuple(chains))


def _sets(
    inward: Sequence[nft.Element], outward: Sequence[nft.Element], elements: Mapping[str, Sequence[nft.Element]]
) -> tuple[nft.Set, ...]:
    sets = [nft.Set("inward", ("ifname",), ("verdict",), tuple(inward))]
    sets.append(nft.Set("outward", ("ifname",), ("verdict",), tuple(outward)))
    for version in (4, 6):
        port = ("inet_proto", "inet_service")
        address = (f"ipv{version}_addr", *port)
        target = (f"ipv{version}_addr", "inet_service")
        for name, key, data in (
            (f"host{version}", address, target),
            (f"any{version}", port, target),
            (f"exposed{version}", address, ()),
            (f"sources{version}", address, ("verdict",)),
            (f"sources-any{version}", port, ("verdict",)),
        ):
            sets.append(nft.Set(name, key, data, tuple(elements.get(name, ()))))
    return tuple(sets)


def _direct_access(bridge: BridgeRules) -> list[nft.Rule]:
    """Only the bridge itself brings packets for its containers, unless their addresses are routed."""
    if not (bridge.masquerade or bridge.internal):
        return []
    rules: list[nft.Rule] = []
    for subnet, gateway in bridge.subnets:
        if bridge.mode(subnet.version) in _DIRECT:
            continue
        parts = [nft.address("daddr", subnet), nft.interface("iifname", bridge.bridge, negate=True)]
        if gateway is not None:
            parts.append(nft.address("daddr", ipaddress.ip_network(gateway), negate=True))
        rules.append((*parts, nft.verdict("drop")))
    return rules


def _spoofed(bridge: BridgeRules) -> list[nft.Rule]:
    """A container leaves its network with an address that the host would answer by the same bridge: its own, or that
    of a network it routes for. Docker lets any address out. An isolated family has no routes, and no way out."""
    families = sorted({subnet.version for subnet, _gateway in bridge.subnets})
    return [
        (nft.interface("iifname", bridge.bridge), nft.unroutable_source(version), nft.verdict("drop"))
        for version in families
        if bridge.mode(version) is not GatewayMode.ISOLATED
    ]


def _masquerade(bridge: BridgeRules) -> list[nft.Rule]:
    rules: list[nft.Rule] = []
    out = nft.interface("oifname", bridge.bridge)
    for subnet, _gateway in bridge.subnets:
        source = nft.address("saddr", subnet)
        if bridge.masquerade and not bridge.internal and bridge.mode(subnet.version) in _MASQUERADED:
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
    for version in (4, 6):
        if bridge.mode(version) is GatewayMode.NAT_UNPROTECTED:
            rules.append((nft.protocol_version(version), nft.verdict("accept")))
            continue
        if bridge.mode(version) is GatewayMode.ROUTED:
            rules.append((nft.ping(version), nft.verdict("accept")))
        rules.append((nft.port_in(version, f"exposed{version}"), nft.verdict("accept")))
    rules.append((nft.verdict("drop"),))
    return rules


def _source_chains(ports: Sequence[PortRule]) -> list[nft.Chain]:
    """One a list: what is on it goes on, the rest is dropped."""
    chains = {}
    for port in ports:
        if port.sources is not None:
            allowed = [(nft.address("saddr", source), nft.verdict("return")) for source in port.sources]
            name = _source_chain(port.sources)
            chains[name] = nft.Chain(name, (*allowed, (nft.verdict("drop"),)))
    return list(chains.values())


def _sources() -> list[nft.Rule]:
    """Only new connections come here (a NAT hook): a list costs those that are established nothing."""
    return [
        (nft.local_destination(), nft.port_verdict(version, name, with_address=with_address))
        for version in (4, 6)
        for name, with_address in ((f"sources{version}", True), (f"sources-any{version}", False))
    ]


def _publish() -> list[nft.Rule]:
    return [
        (nft.dnat_by(version, name, with_address=with_address),)
        for version in (4, 6)
        for name, with_address in ((f"host{version}", True), (f"any{version}", False))
    ]


def _forward() -> tuple[nft.Rule, ...]:
    """What was let through once goes on without a look-up: most packets are of such connections."""
    return (
        (nft.established(), nft.verdict("accept")),
        (nft.interface_verdict("oifname", "inward"),),
        (nft.interface_verdict("iifname", "outward"),),
    )


def _guard() -> tuple[nft.Rule, ...]:
    return (
        (nft.virtual_interface("iifkind"), nft.verdict("accept")),
        (nft.virtual_interface("oifkind"), nft.verdict("accept")),
        (nft.verdict("drop"),),
    )
