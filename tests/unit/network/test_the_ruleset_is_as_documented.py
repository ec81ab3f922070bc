"""The desired ruleset as text: golden, so that each change of a rule is seen and meant."""

import ipaddress

from corten.network import nft_requests
from corten.network.config import GatewayMode
from corten.network.ruleset import BridgeRules, PortRule, build, port_elements

A = ipaddress.ip_address
N = ipaddress.ip_network
DEFAULT = BridgeRules(bridge="corten0", subnets=((N("172.17.0.0/16"), A("172.17.0.1")),))


def port(**values):
    return PortRule(
        **{
            "protocol": "tcp",
            "host_address": A("0.0.0.0"),
            "host_port": 8080,
            "target": A("172.17.0.2"),
            "target_port": 80,
            **values,
        }
    )


GOLDEN = """\
table inet corten {
	map inward {
		type ifname : verdict
		"corten0" : jump to-corten0
	}
	map outward {
		type ifname : verdict
	}
	map host4 {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		127.0.0.1 . udp . 53 : 172.17.0.2 . 53
	}
	map any4 {
		type inet_proto . inet_service : ipv4_addr . inet_service
		tcp . 8080 : 172.17.0.2 . 80
	}
	set exposed4 {
		type ipv4_addr . inet_proto . inet_service
		172.17.0.2 . tcp . 80
		172.17.0.2 . udp . 53
	}
	map sources4 {
		type ipv4_addr . inet_proto . inet_service : verdict
	}
	map sources-any4 {
		type inet_proto . inet_service : verdict
	}
	map host6 {
		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
	}
	map any6 {
		type inet_proto . inet_service : ipv6_addr . inet_service
	}
	set exposed6 {
		type ipv6_addr . inet_proto . inet_service
	}
	map sources6 {
		type ipv6_addr . inet_proto . inet_service : verdict
	}
	map sources-any6 {
		type inet_proto . inet_service : verdict
	}
	chain to-corten0 {
		ct state established,related accept
		iifname "corten0" accept
		ip daddr . meta l4proto . th dport @exposed4 accept
		ip6 daddr . meta l4proto . th dport @exposed6 accept
		drop
	}
	chain publish {
		dnat ip to ip daddr . meta l4proto . th dport map @host4
		dnat ip to meta nfproto ipv4 meta l4proto . th dport map @any4
		dnat ip6 to ip6 daddr . meta l4proto . th dport map @host6
		dnat ip6 to meta nfproto ipv6 meta l4proto . th dport map @any6
	}
	chain raw-prerouting {
		type filter hook prerouting priority -300; policy accept;
		ip daddr 127.0.0.0/8 iifname != "lo" drop
		ip saddr 127.0.0.0/8 iifname != "lo" drop
		ip daddr 172.17.0.0/16 iifname != "corten0" ip daddr != 172.17.0.1 drop
	}
	chain spoofed {
		type filter hook prerouting priority -150; policy accept;
		ct state established,related accept
		iifname "corten0" meta nfproto ipv4 fib saddr . iif oif missing drop
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		fib daddr type local ip daddr . meta l4proto . th dport vmap @sources4
		fib daddr type local meta nfproto ipv4 meta l4proto . th dport vmap @sources-any4
		fib daddr type local ip6 daddr . meta l4proto . th dport vmap @sources6
		fib daddr type local meta nfproto ipv6 meta l4proto . th dport vmap @sources-any6
		fib daddr type local jump publish
	}
	chain output {
		type nat hook output priority -100; policy accept;
		ip6 daddr ::1 return
		fib daddr type local jump publish
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ct state established,related accept
		oifname vmap @inward
		iifname vmap @outward
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		ip saddr 172.17.0.0/16 oifname != "corten0" masquerade
		ip saddr 172.17.0.0/16 oifname "corten0" ct status dnat masquerade
		oifname "corten0" ip saddr 127.0.0.0/8 masquerade
	}
	chain forward-guard {
		type filter hook forward priority 1; policy accept;
		iifkind != "" accept
		oifkind != "" accept
		drop
	}
}
"""


def test_the_default_bridge_with_two_ports():
    ports = [port(), port(protocol="udp", host_address=A("127.0.0.1"), host_port=53, target_port=53)]
    assert build("corten", [DEFAULT], ports, guard=True).text() == GOLDEN


def rules_of(bridge, chain):
    table = build("corten", [bridge], [], guard=False)
    found = next(c for c in table.chains if c.name == chain)
    return [" ".join(part.text for part in rule) for rule in found.rules]


def test_without_icc_neighbours_on_the_bridge_are_dropped():
    closed = BridgeRules(bridge="b", subnets=DEFAULT.subnets, icc=False)
    assert rules_of(closed, "to-b")[1:3] == ['iifname "b" ct status dnat accept', 'iifname "b" drop']


def test_an_internal_network_neither_leaves_nor_lets_in():
    inner = BridgeRules(bridge="b", subnets=DEFAULT.subnets, internal=True)
    assert rules_of(inner, "from-b") == ['oifname != "b" drop']
    assert rules_of(inner, "to-b")[1] == 'iifname != "b" drop'
    assert not any("masquerade" in rule and "!=" in rule for rule in rules_of(inner, "postrouting"))


def test_routed_addresses_stay_reachable_directly():
    routed = BridgeRules(bridge="b", subnets=DEFAULT.subnets, masquerade=False)
    assert not any("ip daddr 172.17.0.0/16" in rule for rule in rules_of(routed, "raw-prerouting"))


def in_mode(mode, **values):
    return BridgeRules(bridge="b", subnets=DEFAULT.subnets, gateway_modes={4: mode}, **values)


def test_a_routed_family_is_neither_translated_nor_shut_but_lets_in_only_published_ports():
    routed = in_mode(GatewayMode.ROUTED)
    assert not any("ip daddr 172.17.0.0/16" in rule for rule in rules_of(routed, "raw-prerouting"))
    assert not any("oifname !=" in rule for rule in rules_of(routed, "postrouting"))
    assert rules_of(routed, "to-b")[2:4] == [
        "meta nfproto ipv4 meta l4proto icmp accept",
        "ip daddr . meta l4proto . th dport @exposed4 accept",
    ]


def test_an_unprotected_family_lets_everything_in_and_the_other_family_does_not():
    rules = rules_of(in_mode(GatewayMode.NAT_UNPROTECTED), "to-b")
    assert rules[2:] == [
        "meta nfproto ipv4 accept",
        "ip6 daddr . meta l4proto . th dport @exposed6 accept",
        "drop",
    ]


def test_a_source_list_is_a_chain_that_ports_of_the_same_list_share():
    listed = {"sources": (N("10.0.0.0/8"), N("192.0.2.1/32"))}
    ports = [port(**listed), port(host_port=8081, host_address=A("192.0.2.9"), **listed), port(host_port=8082)]
    table = build("t", [DEFAULT], ports, guard=False)
    chains = [chain for chain in table.chains if chain.name.startswith("from-")]
    assert [[" ".join(part.text for part in rule) for rule in chain.rules] for chain in chains] == [
        ["ip saddr 10.0.0.0/8 return", "ip saddr 192.0.2.1 return", "drop"]
    ]
    sets = {item.name: [element.text for element in item.elements] for item in table.sets}
    assert sets["sources-any4"] == [f"tcp . 8080 : jump {chains[0].name}"]
    assert sets["sources4"] == [f"192.0.2.9 . tcp . 8081 : jump {chains[0].name}"]
    assert len(sets["any4"]) == 2


def test_an_empty_list_of_a_family_lets_nothing_of_it_in():
    relayed = port(host_address=A("::"), target=None, sources=())
    table = build("t", [DEFAULT], [relayed], guard=False)
    assert [len(chain.rules) for chain in table.chains if chain.name.startswith("from-")] == [1]
    assert not next(item for item in table.sets if item.name == "any6").elements


def test_two_host_ports_to_one_container_port_expose_it_once():
    elements = port_elements([port(), port(host_port=8081)])
    assert len(elements["any4"]) == 2
    assert len(elements["exposed4"]) == 1


def test_many_elements_are_split_over_messages():
    elements = port_elements([port(host_port=n) for n in range(1, 1001)])["any4"]
    requests = nft_requests.add_elements("t", "any4", elements)
    assert len(requests) == 4
    assert all(len(request) < 65536 for request in requests)
