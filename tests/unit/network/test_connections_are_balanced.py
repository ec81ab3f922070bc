"""Who gets the next connection, by members, weights and clients; the rules of it; what labels say."""

import ipaddress
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import InvalidArgument
from corten.linux.netlink import Message, attr, nested
from corten.network.balancing import HASH_SLOTS, MAX_WEIGHT, Backend, Balance, Member, Picker, Service, slots
from corten.network.config import Endpoint, NetworkConfig
from corten.network.nft_balancing import Spread, client_table, counts_of, of_members, silenced
from corten.network.ruleset import PortRule, build, spreads
from corten.network.service_labels import MAX_DRAIN_S, NO_LABELS, names_of_services, parse_labels

A = ipaddress.ip_address


def backends(*weights):
    return [Backend(address=A(f"10.0.{n // 250}.{n % 250 + 1}"), weight=weight) for n, weight in enumerate(weights)]


WEIGHTS = st.lists(st.integers(1, MAX_WEIGHT), min_size=1, max_size=12)


@given(st.integers(1, 60))
def test_round_robin_serves_each_once_a_cycle(count):
    assert sorted(slots(backends(*[1] * count), Balance.ROUND_ROBIN)) == list(range(count))


@given(WEIGHTS)
def test_weights_are_exact_within_a_cycle(weights):
    cycle = slots(backends(*weights), Balance.WEIGHTED)
    got = Counter(cycle)
    assert all(got[n] * weights[0] == got[0] * weight for n, weight in enumerate(weights))
    assert len(cycle) <= sum(weights)


@given(WEIGHTS, st.data())
def test_nobody_is_far_behind_or_ahead_at_any_point_of_a_cycle(weights, data):
    cycle = slots(backends(*weights), Balance.WEIGHTED)
    point = data.draw(st.integers(0, len(cycle)))
    got = Counter(cycle[:point])
    for n, weight in enumerate(weights):
        assert abs(got[n] - point * weight / sum(weights)) < len(weights)


def test_equal_members_take_turns():
    cycle = slots(backends(5, 1, 1), Balance.WEIGHTED)
    assert cycle == (0, 0, 1, 0, 2, 0, 0)


@given(st.integers(2, 20), st.data())
def test_who_leaves_takes_only_its_own_clients_along(count, data):
    before = backends(*[1] * count)
    gone = data.draw(st.sampled_from(before))
    after = [backend for backend in before if backend != gone]
    kept = zip(slots(before, Balance.SOURCE_HASH), slots(after, Balance.SOURCE_HASH), strict=True)
    assert all(before[old] in (after[new], gone) for old, new in kept)


def test_source_hash_gives_shares_by_weight():
    got = Counter(slots(backends(3, 1), Balance.SOURCE_HASH))
    assert HASH_SLOTS == 256
    assert abs(got[0] - 192) < 25


@pytest.mark.parametrize("balance", list(Balance))
def test_without_members_nobody_is_chosen(balance):
    assert slots([], balance) == ()
    assert Picker().pick([], balance, "10.0.0.1") is None


def test_relays_choose_as_rules_do():
    picker, members = Picker(), backends(2, 1)
    assert Counter(picker.pick(members, Balance.WEIGHTED, "x").address for _ in range(9)) == {
        members[0].address: 6,
        members[1].address: 3,
    }
    sticky = {picker.pick(members, Balance.SOURCE_HASH, "10.0.0.9") for _ in range(9)}
    assert len(sticky) == 1
    clients = {picker.pick(members, Balance.SOURCE_HASH, f"10.0.0.{n}") for n in range(50)}
    assert clients == set(members)


CLIENT = """\
table inet corten-services {
	map to-172.18.0.9 {
		type integer : ipv4_addr
		0 counter : 10.0.0.2
		1 counter : 10.0.0.1
	}
	map udp-to-172.18.0.9 {
		type integer : ipv4_addr
		0 counter : 10.0.0.2
		1 counter : 10.0.0.1
	}
	map to-fd00::9 {
		type integer : ipv6_addr
	}
	map udp-to-fd00::9 {
		type integer : ipv6_addr
	}
	map services4 {
		type ipv4_addr : verdict
		172.18.0.9 : jump to-172.18.0.9
	}
	map services6 {
		type ipv6_addr : verdict
		fd00::9 : jump to-fd00::9
	}
	chain to-172.18.0.9 {
		meta l4proto udp dnat ip to numgen inc mod 2 map @udp-to-172.18.0.9
		dnat ip to numgen inc mod 2 map @to-172.18.0.9
	}
	chain to-fd00::9 {
		meta l4proto tcp reject with tcp reset
		reject with icmpx port-unreachable
	}
	chain output {
		type nat hook output priority -100; policy accept;
		ct state established,related accept
		ip daddr vmap @services4
		ip6 daddr vmap @services6
	}
}
"""


def test_the_table_of_a_client_is_as_documented():
    spreads = [
        Spread(address=A("172.18.0.9"), balance=Balance.ROUND_ROBIN, backends=tuple(backends(1, 1))),
        Spread(address=A("fd00::9"), balance=Balance.ROUND_ROBIN, backends=()),
    ]
    assert client_table(spreads, turn=3).text() == CLIENT


@given(st.integers(0, 1000))
def test_wherever_a_cycle_begins_it_serves_the_same_members(turn):
    spread = Spread(address=A("172.18.0.9"), balance=Balance.WEIGHTED, backends=tuple(backends(3, 2, 1)))
    table = client_table([spread], turn=turn)
    served = Counter(element.text.rpartition(" ")[2] for element in table.sets[0].elements)
    assert served == {"10.0.0.1": 3, "10.0.0.2": 2, "10.0.0.3": 1}


def test_who_had_datagrams_and_serves_no_longer_is_known():
    one, two, three = backends(1, 1, 1)
    at = {"address": A("172.18.0.9"), "balance": Balance.ROUND_ROBIN}
    spread = Spread(**at, backends=(one,))
    port = Spread(**at, protocol="udp", port=53, backends=(Backend(address=two.address, port=53),))
    counts = {
        ("udp-to-172.18.0.9", one.address.packed): 5,
        ("udp-to-172.18.0.9", two.address.packed): 0,
        ("udp-to-172.18.0.9", three.address.packed): 1,
        ("to-172.18.0.9", two.address.packed): 7,
        ("port-udp-172.18.0.9-53", two.address.packed + b"\0\x35\0\0"): 7,
        ("port-udp-172.18.0.9-53", one.address.packed + b"\0\x35\0\0"): 7,
    }
    assert silenced([spread], counts) == {three.address}
    assert silenced([port], counts) == {one.address}
    assert silenced([spread], {}) == set()


def test_what_a_client_writes_into_its_own_table_is_bounded():
    one, other = backends(1, 1)
    spread = Spread(address=A("172.18.0.9"), balance=Balance.ROUND_ROBIN, backends=(one,))
    counts = {
        ("to-172.18.0.9", one.address.packed): 3,
        ("to-172.18.0.9", other.address.packed): 5,
        ("to-172.18.0.8", one.address.packed): 7,
    }
    assert of_members([spread], counts) == {("to-172.18.0.9", one.address.packed): 3}
    counter = nested(7, nested(2, attr(2, b"\xff" * 8)))
    element = nested(1, nested(2, attr(1, one.address.packed)), counter)
    answer = Message(0, 0, 0, bytes(4) + nested(3, element, element))
    (count,) = counts_of("to-172.18.0.9", [answer]).values()
    assert count < 1 << 63  # so that slots can go on from it


def test_labels_are_read():
    labels = {
        "corten.service": "Web",
        "corten.service.weight": "7",
        "corten.service.balance": "source-hash",
        "corten.service.drain": "1m30.5s",
        "other": "x",
    }
    found = parse_labels(labels)
    assert (found.name, found.weight, found.balance, found.drain_s) == ("web", 7, "source-hash", 90.5)
    assert parse_labels({"other": "x"}) is NO_LABELS
    assert parse_labels({"corten.service.drain": "1h"}).drain_s == MAX_DRAIN_S


@pytest.mark.parametrize(
    ("label", "value"),
    [
        ("corten.service", ""), ("corten.service", "a b"), ("corten.service", "-a"), ("corten.service", "a" * 64),
        ("corten.service.weight", "0"), ("corten.service.weight", "101"), ("corten.service.weight", "1.5"),
        ("corten.service.weight", "٣"), ("corten.service.balance", "random"), ("corten.service.drain", "10"),
        ("corten.service.drain", "-1s"), ("corten.service.drain", "2h"), ("corten.service.drain", "1s "),
    ],
)  # fmt: skip
def test_labels_that_say_nothing_are_refused(label, value):
    with pytest.raises(InvalidArgument, match=f"invalid label {label}="):
        parse_labels({label: value})


def test_a_networks_option_makes_aliases_services():
    plain = NetworkConfig(id="n", name="n", driver="bridge", created="")
    vip = NetworkConfig(id="n", name="n", driver="bridge", created="", options={"corten.services": "vip"})
    place = Endpoint(id="e", network="n", aliases=["Web", "app-web-1", "0123456789ab", "no good"])
    own = ["app-web-1", "0123456789ab"]
    assert names_of_services(NO_LABELS, plain, place, own=own) == []
    assert names_of_services(NO_LABELS, vip, place, own=own) == ["web"]
    labels = parse_labels({"corten.service": "shop"})
    assert names_of_services(labels, plain, place, own=own) == ["shop"]
    assert names_of_services(labels, vip, place, own=own) == ["shop", "web"]


def rule(target, protocol="tcp", address="0.0.0.0", **more):
    more.setdefault("host_port", 8080)
    return PortRule(
        protocol=protocol, host_address=A(address), target=A(target), target_port=80, service="n/web", **more
    )


def test_the_host_spreads_shared_ports_and_the_services_addresses():
    members = tuple(Member(addresses=(A(f"10.0.0.{n}"), A(f"fd00::{n}")), weight=n) for n in (1, 2))
    service = Service(balance=Balance.WEIGHTED, addresses=(A("10.0.0.9"),), members=members)
    ports = [rule(f"10.0.0.{n}", protocol) for protocol in ("tcp", "sctp") for n in (1, 2, 3)]  # 3 does not serve
    ports += [rule("fd00::2", address="2001:db8::1"), rule("10.0.0.1", host_port=0)]
    found = {spread.name: spread for spread in spreads(ports, {"n/web": service})}
    assert {name: [(str(b.address), b.port, b.weight) for b in spread.backends] for name, spread in found.items()} == {
        "to-10.0.0.9": [("10.0.0.1", 0, 1), ("10.0.0.2", 0, 2)],
        "port-tcp-0.0.0.0-8080": [("10.0.0.1", 80, 1), ("10.0.0.2", 80, 2)],
        "port-sctp-0.0.0.0-8080": [("10.0.0.1", 80, 1), ("10.0.0.2", 80, 2)],
        "port-tcp-2001:db8::1-8080": [("fd00::2", 80, 2)],
    }
    text = build("t", [], ports, guard=False, spread=list(found.values())).text()
    for line in (
        "sctp . 8080 : jump port-sctp-0.0.0.0-8080",
        "2001:db8::1 . tcp . 8080 : jump port-tcp-2001:db8::1-8080",
        "0 counter : 10.0.0.2 . 80",
        "dnat ip to numgen inc mod 3 map @port-sctp-0.0.0.0-8080",
        "10.0.0.3 . tcp . 80",  # is exposed, so that what is established goes on
    ):
        assert f"\t\t{line}\n" in text
    assert "tcp . 8080 : 10.0.0." not in text
    publish = text[text.index("chain publish") : text.index("chain raw-prerouting")]
    assert publish.index("vmap @spread-any4") < publish.index("map @host4")
    assert [s.backends for s in spreads(ports, {})] == [(), (), ()]
