"""What the options of a vxlan network may say, and the rules that keep strangers out."""

import ipaddress

import pytest

from corten.errors import InvalidArgument
from corten.network import nft_requests
from corten.network.config import NetworkConfig, SubnetConfig
from corten.network.ruleset import BridgeRules, build
from corten.network.vxlan import changed_peers, own_gateway, underlay

A = ipaddress.ip_address


def network(driver="vxlan", **options):
    return NetworkConfig(id="ab" * 32, name="far", driver=driver, created="", options=options)


def test_options_become_values():
    found = underlay(network(vni="42", peers="192.0.2.2, 192.0.2.3,192.0.2.2", parent="eth0", port="8472"))
    assert (found.vni, found.port, found.parent, found.version) == (42, 8472, "eth0", 4)
    assert found.peers == (A("192.0.2.2"), A("192.0.2.3"))
    assert found.local == A("0.0.0.0")
    six = underlay(network(vni="16777215", local="2001:db8::1"))
    assert (six.version, six.port, six.overhead()) == (6, 4789, 70)
    assert underlay(network(vni="1")).overhead() == 50


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "needs a number: -o vni"),
        ({"vni": "0"}, "invalid vni '0': want a number from 1 to 16777215"),
        ({"vni": "16777216"}, "invalid vni"),
        ({"vni": "٤"}, "invalid vni"),
        ({"vni": "9" * 5000}, "invalid vni"),
        ({"vni": "1", "port": "65536"}, "invalid port"),
        ({"vni": "1", "peers": "host.example"}, "invalid address: host.example"),
        ({"vni": "1", "peers": "192.0.2.2,2001:db8::2"}, "of one family"),
        ({"vni": "1", "peers": "192.0.2.2", "local": "2001:db8::1"}, "of one family"),
        ({"vni": "1", "peers": "239.1.1.1"}, "not the address of another host"),
        ({"vni": "1", "peers": "0.0.0.0"}, "not the address of another host"),
        ({"vni": "1", "peers": "127.0.0.1"}, "not the address of another host"),
        ({"vni": "1", "peers": "fe80::2"}, "link-local"),
        ({"vni": "1", "peers": "fe80::2%eth0"}, "invalid address"),
        ({"vni": "1", "peers": "192.0.2.2", "local": "192.0.2.2"}, "this host's own address"),
        ({"vni": "1", "parent": "../eth0"}, "invalid interface name"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, text):
    with pytest.raises(InvalidArgument, match=text):
        underlay(network(**options))


def test_peers_come_and_go():
    known = network(vni="1", peers="192.0.2.2,192.0.2.3")
    assert changed_peers(known, add=["192.0.2.4", "192.0.2.3"], remove=["192.0.2.2"])["peers"] == "192.0.2.3,192.0.2.4"
    assert known.options["peers"] == "192.0.2.2,192.0.2.3"
    with pytest.raises(InvalidArgument, match="its driver is bridge"):
        changed_peers(network("bridge"), add=["192.0.2.4"], remove=[])


@pytest.mark.parametrize(
    ("part", "gateway"),
    [("10.42.64.0/20", "10.42.64.1"), ("10.42.64.8/32", "10.42.64.8"), ("fd00::100/120", "fd00::101")],
)
def test_a_host_has_its_gateway_in_its_own_part(part, gateway):
    assert own_gateway(SubnetConfig(subnet="", ip_range=part)) == gateway


def bridge(**options):
    return BridgeRules(bridge="br-far", subnets=(), underlay=underlay(network(**options)))


def test_packets_from_strangers_are_dropped_by_rules_of_the_network():
    four = bridge(vni="42", peers="192.0.2.2,192.0.2.3")
    six = bridge(vni="43", peers="2001:db8::2", port="8472")
    text = build("corten", [four, six], [], guard=False).text()
    assert "\tset peers-42-4789 {\n\t\ttype ipv4_addr\n\t\t192.0.2.2\n\t\t192.0.2.3\n\t}\n" in text
    assert "\tset peers-43-8472 {\n\t\ttype ipv6_addr\n\t\t2001:db8::2\n\t}\n" in text
    assert (
        "\tchain strangers {\n\t\ttype filter hook input priority 0; policy accept;\n"
        "\t\tudp dport 4789 @th,96,24 0x2a ip saddr != @peers-42-4789 drop\n"
        "\t\tudp dport 4789 @th,96,24 0x2a meta nfproto ipv6 drop\n"
        "\t\tudp dport 8472 @th,96,24 0x2b ip6 saddr != @peers-43-8472 drop\n"
        "\t\tudp dport 8472 @th,96,24 0x2b meta nfproto ipv4 drop\n\t}\n"
        "\tchain smuggled {\n\t\ttype filter hook forward priority 0; policy accept;\n"
        "\t\tudp dport 4789 @th,96,24 0x2a ip daddr @peers-42-4789 drop\n"
        "\t\tudp dport 8472 @th,96,24 0x2b ip6 daddr @peers-43-8472 drop\n\t}\n"
    ) in text
    assert nft_requests.replace_table(build("corten", [four, six], [], guard=False))


def test_without_vxlan_networks_no_packet_for_the_host_is_looked_at():
    assert "hook input" not in build("corten", [BridgeRules(bridge="corten0", subnets=())], [], guard=True).text()
