"""Port specifications and what inspect shows of them."""

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.networks.publishing import default_addresses
from corten.errors import InvalidArgument
from corten.network.ports import HeldPort, PublishPolicy, parse_bindings, parse_port, port_map
from corten.spec.docker.network import PortBinding


def test_a_binding_names_address_and_port():
    found = parse_bindings({"80/tcp": [PortBinding(host_ip="127.0.0.1", host_port="8080")]})
    assert (found[0].container_port, found[0].protocol, found[0].first, found[0].last) == (80, "tcp", 8080, 8080)
    assert found[0].address == ipaddress.ip_address("127.0.0.1")


def test_no_port_means_any_and_a_range_means_the_first_free_one():
    found = parse_bindings({"80": [PortBinding()], "53/udp": [PortBinding(host_ip="[::1]", host_port="5000-5010")]})
    assert [(r.protocol, r.first, r.last) for r in found] == [("udp", 5000, 5010), ("tcp", 0, 0)]


def test_publish_all_adds_what_is_exposed_and_not_bound():
    found = parse_bindings({"80/tcp": [PortBinding(host_port="1")]}, ["80/tcp", "443/tcp"], publish_all=True)
    assert [(r.container_port, r.first) for r in found] == [(80, 1), (443, 0)]


@pytest.mark.parametrize("key", ["", "0/tcp", "65536/tcp", "80/icmp", "x/tcp", "-1/tcp", "٨٠/tcp", "80/tcp/x"])
def test_a_bad_container_port_is_refused(key):
    with pytest.raises(InvalidArgument, match="invalid port specification"):
        parse_port(key)


@pytest.mark.parametrize("text", ["x", "70000", "9-5", "1-2-3", "-", "1-", "٨٠", " 80"])
def test_a_bad_host_port_is_refused_or_harmless(text):
    try:
        found = parse_bindings({"80/tcp": [PortBinding(host_port=text)]})
    except InvalidArgument:
        return
    assert 0 <= found[0].first <= found[0].last < 65536


@given(st.text(max_size=12), st.text(max_size=20), st.text(max_size=12))
def test_any_text_is_parsed_or_refused(key, address, port):
    try:
        found = parse_bindings({key: [PortBinding(host_ip=address, host_port=port)]})
    except InvalidArgument:
        return
    assert all(0 < r.container_port < 65536 and 0 <= r.first <= r.last < 65536 for r in found)


def test_the_map_shows_published_and_merely_exposed_ports():
    held = [
        HeldPort(protocol="tcp", container_port=80, address=ipaddress.ip_address(text), port=8080, socket=None)
        for text in ("0.0.0.0", "::")
    ]
    assert port_map(held, ["80/tcp", "443/tcp"]) == {
        "80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080"), PortBinding(host_ip="::", host_port="8080")],
        "443/tcp": None,
    }


def test_a_source_list_is_parsed_and_without_one_anybody_may_connect():
    listed = PortBinding(host_port="1", sources=["192.0.2.1", "10.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"])
    found = parse_bindings({"80/tcp": [listed, PortBinding(host_port="2")]})
    assert [str(source) for source in found[0].sources] == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]
    assert found[1].sources == ()


@pytest.mark.parametrize("sources", [[], ["10.0.0.1/8"], ["localhost"], [""], ["10.0.0.0/8", "10.0.0.0/33"]])
def test_a_source_list_that_lets_nobody_in_or_names_no_range_is_refused(sources):
    with pytest.raises(InvalidArgument, match="published port"):
        parse_bindings({"80/tcp": [PortBinding(host_port="1", sources=sources)]})


def test_a_binding_without_sources_looks_as_dockers():
    assert msgspec.json.encode(PortBinding(host_port="1")) == b'{"HostIp":"","HostPort":"1"}'
    listed = PortBinding(host_port="1", sources=["10.0.0.0/8"])
    assert msgspec.json.decode(msgspec.json.encode(listed), type=PortBinding) == listed


@pytest.mark.parametrize(
    ("policy", "default_ip", "expected"),
    [
        ("docker", "", []),
        ("docker", "0.0.0.0", []),
        ("docker", "192.0.2.1", ["192.0.2.1"]),
        ("host-firewall", "", []),
        ("loopback", "", ["127.0.0.1", "::1"]),
        ("loopback", "192.0.2.1", ["192.0.2.1"]),
    ],
)
def test_where_a_port_without_an_address_is_published(policy, default_ip, expected):
    found = default_addresses(PublishPolicy(policy), default_ip)
    assert [str(address) for address in found] == expected
