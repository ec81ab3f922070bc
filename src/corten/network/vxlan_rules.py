"""Rules that keep strangers out of vxlan networks: only a peer's packets reach a network's link. Pure; daemon only.

The kernel hands every packet with the link's number to it, from whatever address, and learns from it. Nor may a
container send such packets to a peer: by NAT they would come from this host, which is a peer there. To stop a packet
that claims a peer's address is the work of the network between the hosts, as with all tunnels without keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from corten.network import nft
from corten.network.vxlan import Underlay

_FILTER = 0


def peer_sets(underlays: Sequence[Underlay]) -> list[nft.Set]:
    """One set of addresses a network."""
    return [
        nft.Set(_name(item), (f"ipv{item.version}_addr",), (), tuple(nft.address_element(p) for p in item.peers))
        for item in underlays
    ]


def peer_chains(underlays: Sequence[Underlay]) -> list[nft.Chain]:
    """None without vxlan networks; else a chain that all packets for the host pass, and one for those it forwards."""
    strangers: list[nft.Rule] = []
    smuggled: list[nft.Rule] = []
    for item in underlays:
        packet = nft.vxlan(item.port, item.vni)
        other = nft.protocol_version(10 - item.version)
        strangers.append((packet, nft.listed("saddr", item.version, _name(item), negate=True), nft.verdict("drop")))
        strangers.append((packet, other, nft.verdict("drop")))
        smuggled.append((packet, nft.listed("daddr", item.version, _name(item)), nft.verdict("drop")))
    if not underlays:
        return []
    return [
        nft.Chain("strangers", tuple(strangers), "filter", "input", _FILTER),
        nft.Chain("smuggled", tuple(smuggled), "filter", "forward", _FILTER),
    ]


def _name(item: Underlay) -> str:
    return f"peers-{item.vni}-{item.port}"
