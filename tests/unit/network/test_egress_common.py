"""What two egress lists have in common: nothing that one of them does not let through."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.network.egress import EVERYTHING, EgressList, Ports, parse_rules
from corten.network.egress_common import common_rules

NAMES = ["a.example", "b.a.example", "c.b.a.example", "xa.example", "example", "other.org"]
ADDRESSES = ["10.0.0.1", "10.1.0.1", "192.0.2.7", "2001:db8::1", "2001:db8:1::1"]
PORTS = ["", ":80", ":80-90", ":85-443/tcp", ":53/udp", ":1-65535"]
RANGES = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.0.0.1",
    "192.0.2.0/24",
    "0.0.0.0/0",
    "[2001:db8::/32]",
    "[2001:db8:1::1]",
    "[::/0]",
]
WORDS = ["*", "*.example", "*.a.example", "a.example", "b.a.example", "other.org", *RANGES]


def rules() -> st.SearchStrategy[list[str]]:
    def rule(what: str, ports: str) -> str:
        return what[1:-1] if what.startswith("[") and not ports else what + ports

    return st.lists(st.builds(rule, st.sampled_from(WORDS), st.sampled_from(PORTS)), max_size=6)


def passes(found: list[Ports], protocol: str, port: int) -> bool:
    return any(p == EVERYTHING or (protocol in p.protocols and p.low <= port <= p.high) for p in found)


def of_address(listed: EgressList, text: str) -> list[Ports]:
    address = ipaddress.ip_address(text)
    return [ports for network, ports in listed.ranges if address in network]


@given(rules(), rules())
def test_it_lets_through_what_both_do_and_nothing_else(one: list[str], other: list[str]):
    both = parse_rules(common_rules(one, other))
    first, second = parse_rules(one), parse_rules(other)
    for protocol, port in (("tcp", 80), ("tcp", 443), ("udp", 53), ("udp", 88), ("icmp", 0)):
        for name in NAMES:
            sides = [passes(listed.ports_of_name(name), protocol, port) for listed in (first, second, both)]
            assert sides[2] == (sides[0] and sides[1]), (name, protocol, port)
        for address in ADDRESSES:
            sides = [passes(of_address(listed, address), protocol, port) for listed in (first, second, both)]
            assert sides[2] == (sides[0] and sides[1]), (address, protocol, port)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (["none"], ["*"], ()),
        (["*"], ["pypi.org:443"], ("pypi.org:443",)),
        (["*.example.com:443"], ["example.com", "a.example.com:1-1024"], ("a.example.com:443",)),
        (["web.example"], ["198.51.100.0/24"], ()),
        (["10.0.0.0/8:53"], ["10.2.0.0/16:1-100/udp"], ("10.2.0.0/16:53/udp",)),
        (["[2001:db8::/32]:443"], ["2001:db8::1"], ("[2001:db8::1/128]:443",)),
        (["*.b.example"], ["*.example"], ("*.b.example",)),
    ],
)
def test_examples(one: list[str], other: list[str], both: tuple[str, ...]):
    assert common_rules(one, other) == common_rules(other, one) == both
