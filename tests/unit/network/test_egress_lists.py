"""Egress lists: what rules mean, which names they match, which addresses a name may stand for."""

import ipaddress
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidArgument
from corten.network.dns.message import parse_query
from corten.network.egress import EVERYTHING, EgressList, Ports, believable, is_public, parse_rules

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join)
PORTS = st.one_of(
    st.just(("", EVERYTHING)),
    st.builds(
        lambda a, b, protocol: (
            f":{min(a, b)}-{max(a, b)}" + (f"/{protocol}" if protocol else ""),
            Ports(protocol, min(a, b), max(a, b)),
        ),
        st.integers(1, 65535),
        st.integers(1, 65535),
        st.sampled_from(["", "tcp", "udp", "sctp"]),
    ),
)


def network(text):
    return ipaddress.ip_network(text)


@pytest.mark.parametrize(
    ("rule", "names", "ranges"),
    [
        ("example.com", [("example.com", EVERYTHING)], []),
        ("Example.COM.:443", [("example.com", Ports("", 443, 443))], []),
        ("*.debian.org:80-90/tcp", [("*.debian.org", Ports("tcp", 80, 90))], []),
        ("*", [("*", EVERYTHING)], []),
        ("1a.example", [("1a.example", EVERYTHING)], []),
        ("192.0.2.7", [], [(network("192.0.2.7/32"), EVERYTHING)]),
        ("10.0.0.0/8:53/udp", [], [(network("10.0.0.0/8"), Ports("udp", 53, 53))]),
        ("2001:db8::1", [], [(network("2001:db8::1/128"), EVERYTHING)]),
        ("[2001:db8::/32]:443", [], [(network("2001:db8::/32"), Ports("", 443, 443))]),
        ("[2001:db8::1]", [], [(network("2001:db8::1/128"), EVERYTHING)]),
        ("none", [], []),
        ("", [], []),
    ],
)
def test_rules_mean_what_they_say(rule, names, ranges):
    assert parse_rules([rule]) == EgressList(tuple(names), tuple(ranges))


@pytest.mark.parametrize(
    "rule",
    [
        "none,example.com",
        "exa mple.com",
        "-a.example",
        "*example.com",
        "a.*.example",
        "example.com:",
        "example.com:0",
        "example.com:90-80",
        "example.com:65536",
        "example.com:80/icmp",
        "example.com/tcp",
        "http://example.com",
        "10.0.0.1/8",
        "10.0.0.256",
        "127.1",
        "0x7f000001",
        "[2001:db8::1",
        "[10.0.0.1]:80",
        "2001:db8::1]:80",
        "fe80::1%eth0",
        "::ffff:10.0.0.1",
        "bücher.example",
        "a" * 64 + ".example",
        ".example",
        "\0",
    ],
)
def test_what_is_no_rule_is_refused_with_the_rule_in_the_text(rule):
    with pytest.raises(InvalidArgument, match="invalid egress"):
        parse_rules([rule])


def test_a_list_has_an_end():
    with pytest.raises(InvalidArgument, match="1025 rules"):
        parse_rules([",".join(["a.example"] * 1025)])


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text):
    try:
        found = parse_rules([text])
    except InvalidArgument as error:
        assert len(error.message) < 500  # noqa: PT017 - both ways are right
    else:
        assert len(found.names) + len(found.ranges) <= text.count(",") + 1


@given(NAME, PORTS, st.ip_addresses())
def test_what_is_written_is_read(name, ports, address):
    text, value = ports
    host = f"[{address}]" if address.version == 6 and text else str(address)
    if address.version == 6 and address in network("::ffff:0:0/96"):
        return
    found = parse_rules([f"{name}{text},{host}{text}"])
    assert found.names == ((name, value),)
    assert found.ranges == ((ipaddress.ip_network(address), value),)
    assert found.ports_of_name(name.upper()) == [value]
    assert found.covers(address)


@given(NAME, NAME)
def test_a_wildcard_is_for_the_names_below_alone(base, other):
    found = parse_rules([f"*.{base}"])
    assert found.ports_of_name(f"{other}.{base}")
    assert not found.ports_of_name(base)
    assert bool(found.ports_of_name(other)) == other.endswith(f".{base}")
    assert not found.ports_of_name(f"x{base}")


def test_a_dot_within_a_label_is_none_between_labels():
    labels = (b"x.debian", b"example")
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    asked = parse_query(struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0) + wire + struct.pack("!HH", 1, 1))
    found = parse_rules(["*.debian.example,*.example,x.debian.example,*"])
    assert found.ports_of_name("x.debian.example")
    assert not found.ports_of_name(asked.name)


@given(NAME, NAME)
def test_a_name_is_for_itself_alone(name, other):
    found = parse_rules([name])
    assert bool(found.ports_of_name(other)) == (name == other)
    assert not found.ports_of_name(f"{other}.{name}")


@given(st.lists(st.ip_addresses(v=4).flatmap(lambda a: st.integers(0, 32).map(lambda n: f"{a}/{n}")), max_size=20))
def test_ranges_at_ports_do_not_overlap_and_lose_nothing(texts):
    given_ranges = [ipaddress.ip_network(text, strict=False) for text in texts]
    found = EgressList((), tuple((r, EVERYTHING) for r in given_ranges)).ranges_at(EVERYTHING, 4)
    assert all(a.broadcast_address < b.network_address for a, b in itertools.pairwise(found))
    assert all(any(r.subnet_of(f) for f in found) for r in given_ranges)
    assert sum(f.num_addresses for f in found) <= sum(r.num_addresses for r in given_ranges)


NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.100.100.200",
    "127.0.0.1",
    "169.254.169.254",
    "172.17.0.1",
    "192.168.1.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
]


@pytest.mark.parametrize("text", list(NOT_PUBLIC))
def test_what_a_name_of_the_world_outside_cannot_stand_for(text):
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "2620:fe::fe", "64:ff9b::808:808", "2002:808:808::1", "100.128.0.1"])
def test_what_it_can_stand_for(text):
    assert is_public(ipaddress.ip_address(text))


def test_own_networks_are_not_believed_unless_the_list_has_them():
    addresses = [ipaddress.ip_address(a) for a in ("8.8.8.8", "9.9.9.9", "10.0.0.1", "169.254.169.254")]
    own = [network("9.9.9.0/24")]
    assert believable(addresses, EgressList(), own) == addresses[:1]
    listed = parse_rules(["10.0.0.0/8:80", "9.9.9.9"])
    assert believable(addresses, listed, own) == addresses[:3]
