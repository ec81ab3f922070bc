"""What the options of a vxlan network say. Pure; daemon only. Source of the format: RFC 7348."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from corten.errors import InvalidArgument
from corten.network.config import NetworkConfig, SubnetConfig, check_interface_name
from corten.network.ipam import IPAddress, parse_address

OPTION_VNI, OPTION_PEERS, OPTION_LOCAL, OPTION_PORT = "vni", "peers", "local", "port"
PORT = 4789  # RFC 7348 section 8
OVERHEAD = {4: 20 + 8 + 8 + 14, 6: 40 + 8 + 8 + 14}
"""By IP version: what the headers of IP, UDP, VXLAN and the frame inside take of the way's MTU."""
_MAX_VNI = (1 << 24) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Underlay:
    """How frames of a network get to other hosts: as UDP to `port` of each of the `peers`, with `vni` inside."""

    vni: int
    peers: tuple[IPAddress, ...] = ()
    port: int = PORT
    local: IPAddress  # the unspecified address: as the routes say
    parent: str = ""

    @property
    def version(self) -> int:
        """The IP version of all addresses."""
        return self.local.version

    def overhead(self) -> int:
        """Bytes of the way's MTU that are not the containers'."""
        return OVERHEAD[self.version]


def vxlan_link(network: NetworkConfig) -> str:
    """The bridge's port that leads to other hosts."""
    return f"vx-{network.id[:12]}"


def underlay(network: NetworkConfig) -> Underlay:
    """The options as values. Raises InvalidArgument."""
    options = network.options
    if not options.get(OPTION_VNI):
        raise InvalidArgument("a vxlan network needs a number: -o vni=1 to 16777215, the same on all hosts")
    peers = parse_peers(options.get(OPTION_PEERS, ""))
    local = _unicast(options[OPTION_LOCAL]) if options.get(OPTION_LOCAL) else None
    versions = {address.version for address in (*peers, *([local] if local else []))}
    if len(versions) > 1:
        raise InvalidArgument("the peers and the local address of a vxlan network must be of one family, IPv4 or IPv6")
    if local is not None and local in peers:
        raise InvalidArgument(f"{local} is this host's own address (-o local), not a peer's")
    parent = options.get("parent", "")
    return Underlay(
        vni=_number(OPTION_VNI, options[OPTION_VNI], _MAX_VNI),
        peers=peers,
        port=_number(OPTION_PORT, options.get(OPTION_PORT) or str(PORT), 65535),
        local=local or ipaddress.ip_address("::" if 6 in versions else "0.0.0.0"),
        parent=check_interface_name(parent) if parent else "",
    )


def parse_peers(text: str) -> tuple[IPAddress, ...]:
    """`192.0.2.2,192.0.2.3`, each once. Raises InvalidArgument."""
    return tuple(dict.fromkeys(_unicast(item.strip()) for item in text.split(",") if item.strip()))


def changed_peers(network: NetworkConfig, *, add: Collection[str], remove: Collection[str]) -> dict[str, str]:
    """The options when peers come and go. Raises InvalidArgument (one that goes is none; another family)."""
    if network.driver != "vxlan":
        raise InvalidArgument(f"network {network.name} has no peers: its driver is {network.driver}, not vxlan")
    before = underlay(network)
    peers = list(before.peers)
    for text in remove:
        address = _unicast(text)
        if address not in peers:
            raise InvalidArgument(f"{address} is no peer of network {network.name}")
        peers.remove(address)
    peers += [address for address in map(_unicast, add) if address not in peers]
    if any(address.version != before.version for address in peers):
        raise InvalidArgument(f"network {network.name} was made for peers with IPv{before.version} addresses")
    return {**network.options, OPTION_PEERS: ",".join(map(str, peers))}


def own_gateway(subnet: SubnetConfig) -> str:
    """Each host has an address of its own in the shared subnet: the first of the part that it hands out."""
    part = ipaddress.ip_network(subnet.ip_range)
    return str(part[1] if part.num_addresses > 2 else part[0])


def _unicast(text: str) -> IPAddress:
    address = parse_address(text)
    if address.is_unspecified or address.is_multicast or address.is_loopback or str(address) == "255.255.255.255":
        raise InvalidArgument(f"{address} is not the address of another host")
    if address.version == 6 and address.is_link_local:
        raise InvalidArgument(f"{address} is a link-local address: peers are named by addresses that routes lead to")
    return address


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= most):
        raise InvalidArgument(f"invalid {name} {text[:64]!r}: want a number from 1 to {most}")
    return int(text)
