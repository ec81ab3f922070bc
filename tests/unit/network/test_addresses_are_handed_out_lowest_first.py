"""Address management as a pure thing: subnets, addresses, MACs."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.errors import Conflict, InvalidArgument, ResourceExhausted
from corten.network.ipam import (
    DEFAULT_POOLS,
    AddressSpace,
    Pool,
    Taken,
    choose_subnet,
    local_pool,
    mac_of,
    overlaps,
    parse_pool,
    parse_subnet,
)

NET = ipaddress.ip_network("10.0.0.0/28")


def test_the_first_subnet_of_the_default_pools_is_dockers():
    assert str(choose_subnet(DEFAULT_POOLS, [])) == "172.17.0.0/16"


def test_taken_prefixes_are_skipped_even_when_they_only_touch():
    taken = [ipaddress.ip_network(text) for text in ("172.16.0.0/12", "192.168.0.0/19")]
    assert str(choose_subnet(DEFAULT_POOLS, taken)) == "192.168.32.0/20"


def test_when_everything_is_taken_it_says_what_to_do():
    with pytest.raises(ResourceExhausted, match="all predefined address pools have been fully subnetted") as caught:
        choose_subnet(DEFAULT_POOLS, [ipaddress.ip_network("0.0.0.0/0")])
    assert "--subnet" in caught.value.hint


def test_a_taken_huge_block_is_not_walked():
    with pytest.raises(ResourceExhausted):
        choose_subnet([Pool(ipaddress.ip_network("fd00::/8"), 64)], [ipaddress.ip_network("fc00::/7")])


def test_the_default_pools_do_not_run_out_where_dockers_do():
    taken = []
    for _ in range(40):
        taken.append(choose_subnet(DEFAULT_POOLS, taken))
    assert [str(subnet) for subnet in taken[13:17]] == [
        "172.30.0.0/16", "172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20",
    ]  # fmt: skip
    assert [str(subnet) for subnet in taken[30:33]] == ["192.168.240.0/20", "10.128.0.0/24", "10.128.1.0/24"]


@given(
    st.integers(20, 30),
    st.lists(st.tuples(st.integers(0, 2**12 - 1), st.integers(18, 32)), max_size=30),
)
def test_the_first_free_piece_of_a_block_is_chosen(size, rivals):
    block = ipaddress.ip_network("10.0.0.0/20")
    taken = [ipaddress.ip_network((int(block[0]) + offset, prefix), strict=False) for offset, prefix in rivals]
    free = [piece for piece in block.subnets(new_prefix=size) if not any(overlaps(piece, t) for t in taken)]
    half = len(taken) // 2  # some are networks of ours, some are the host's
    for own, host in ((taken, []), ([], taken), (taken[:half], taken[half:])):
        if free:
            assert choose_subnet([Pool(block, size)], own, Taken(host)) == free[0]
        else:
            with pytest.raises(ResourceExhausted):
                choose_subnet([Pool(block, size)], own, Taken(host))


def test_of_a_routers_routes_only_those_in_the_way_are_looked_at():
    routes = [ipaddress.ip_network((0x0A000000 + number * 512, 24)) for number in range(32_768)]
    routes += [ipaddress.ip_network("172.17.3.0/24"), ipaddress.ip_network("172.18.0.0/15")]
    host = Taken(routes)
    looked = list(host.runs(ipaddress.ip_network("172.16.0.0/12")))
    assert looked == [(0xAC110300, 0xAC1103FF), (0xAC120000, 0xAC13FFFF)]
    assert list(host.runs(ipaddress.ip_network("fd00::/8"))) == []
    assert str(choose_subnet(DEFAULT_POOLS, [], host)) == "172.20.0.0/16"


def test_each_daemon_has_its_own_unique_local_prefix():
    first, second = local_pool("one"), local_pool("two")
    assert first.base.prefixlen == 48
    assert ipaddress.ip_network("fd00::/8").supernet_of(first.base)
    assert not overlaps(first.base, second.base)


@given(st.lists(st.ip_addresses(v=4).map(lambda a: ipaddress.ip_network((int(a), 20), strict=False)), max_size=20))
def test_a_chosen_subnet_never_overlaps_what_is_taken(taken):
    chosen = choose_subnet(DEFAULT_POOLS, taken)
    assert not any(overlaps(chosen, other) for other in taken)


def test_network_and_broadcast_addresses_are_never_handed_out():
    space = AddressSpace(NET)
    found = [space.allocate() for _ in range(14)]
    assert found[0] == ipaddress.ip_address("10.0.0.1")
    assert found[-1] == ipaddress.ip_address("10.0.0.14")
    with pytest.raises(ResourceExhausted, match="no available IPv4 addresses on this network's address pools"):
        space.allocate()


def test_a_range_narrows_what_is_handed_out_but_not_what_can_be_asked_for():
    space = AddressSpace(NET, ipaddress.ip_network("10.0.0.8/30"))
    space.reserve(ipaddress.ip_address("10.0.0.9"))
    space.reserve(ipaddress.ip_address("10.0.0.1"))
    assert [str(space.allocate()) for _ in range(3)] == ["10.0.0.8", "10.0.0.10", "10.0.0.11"]
    with pytest.raises(ResourceExhausted):
        space.allocate()


def test_a_taken_or_foreign_address_is_refused():
    space = AddressSpace(NET)
    space.reserve(ipaddress.ip_address("10.0.0.5"))
    with pytest.raises(Conflict, match="Address already in use"):
        space.reserve(ipaddress.ip_address("10.0.0.5"))
    for text in ("10.0.0.0", "10.0.0.15", "10.0.1.1", "fd00::1"):
        with pytest.raises(InvalidArgument):
            space.reserve(ipaddress.ip_address(text))


@given(st.lists(st.tuples(st.sampled_from(["take", "give", "ask"]), st.integers(0, 15)), max_size=80))
def test_any_history_hands_out_each_address_once_and_the_lowest_first(history):
    space = AddressSpace(NET)
    used = set()
    base = int(NET.network_address)
    for action, number in history:
        address = ipaddress.IPv4Address(base + number)
        if action == "give":
            space.release(address)
            used.discard(address)
        elif action == "ask":
            if address in used or number in (0, 15):
                with pytest.raises((Conflict, InvalidArgument)):
                    space.reserve(address)
            else:
                space.reserve(address)
                used.add(address)
        else:
            free = [a for a in NET.hosts() if a not in used]
            if not free:
                with pytest.raises(ResourceExhausted):
                    space.allocate()
            else:
                assert space.allocate() == free[0]
                used.add(free[0])
        assert len(space) == len(used)


@given(st.ip_addresses())
def test_a_mac_is_local_unicast_and_belongs_to_its_address(address):
    mac = bytes.fromhex(mac_of(address).replace(":", ""))
    assert mac[:2] == b"\x02\x42"
    assert len(mac) == 6
    if address.version == 4:
        assert mac[2:] == address.packed


@pytest.mark.parametrize("text", ["10.0.0.0", "10.0.0.0/33", "x/8", "", "10.0.0.0/8\n", "fd00::/129"])
def test_what_is_no_subnet_is_refused(text):
    with pytest.raises(InvalidArgument, match="invalid CIDR address"):
        parse_subnet(text)


def test_a_pool_must_hold_its_subnets():
    assert parse_pool("10.10.0.0/16", 24).size == 24
    with pytest.raises(InvalidArgument):
        parse_pool("10.10.0.0/16", 8)
