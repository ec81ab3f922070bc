"""What two egress lists both let through, as a list. Pure; daemon only.

Names are compared with names and addresses with addresses: which addresses a name will have nobody knows beforehand, so
a name of one list and a range of the other have nothing in common. The result lets nothing through but what both do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from corten.network.egress import EVERYTHING, Ports, parse_rules
from corten.network.ipam import IPNetwork


def common_rules(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """The rules that both lists amount to, none: nothing. Raises InvalidArgument for a list that is none."""
    first, second = parse_rules(one), parse_rules(other)
    rules = [
        _rule(name, ports)
        for mine, my_ports in first.names
        for their, their_ports in second.names
        if (name := _common_name(mine, their))
        for ports in _common_ports(my_ports, their_ports)
    ]
    rules += [
        _rule(f"[{network}]" if network.version == 6 and ports.low else str(network), ports)
        for net, my_ports in first.ranges
        for their_net, their_ports in second.ranges
        if (network := _common_range(net, their_net)) is not None
        for ports in _common_ports(my_ports, their_ports)
    ]
    return tuple(dict.fromkeys(rules))


def _common_name(one: str, other: str) -> str:
    """The narrower of two patterns, empty when no name matches both."""
    if one == other or other == "*" or (other.startswith("*.") and one.endswith(other[1:])):
        return one
    if one == "*" or (one.startswith("*.") and other.endswith(one[1:])):
        return other
    return ""


def _common_range(one: IPNetwork, other: IPNetwork) -> IPNetwork | None:
    if one.version != other.version:
        return None
    narrow, wide = sorted((one, other), key=lambda network: network.prefixlen, reverse=True)
    return narrow if narrow.network_address in wide else None


def _common_ports(one: Ports, other: Ports) -> Iterable[Ports]:
    """One or none."""
    if EVERYTHING in (one, other):
        yield one if other == EVERYTHING else other
        return
    if one.protocol and other.protocol and one.protocol != other.protocol:
        return
    low, high = max(one.low, other.low), min(one.high, other.high)
    if low <= high:
        yield Ports(one.protocol or other.protocol, low, high)


def _rule(what: str, ports: Ports) -> str:
    if not ports.low:
        return what
    span = f"{ports.low}" if ports.low == ports.high else f"{ports.low}-{ports.high}"
    return f"{what}:{span}" + (f"/{ports.protocol}" if ports.protocol else "")
