"""The desired ruleset as text: golden, so that each change of a rule is seen and meant."""

import ipaddress

from corten.network import nft
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
	map host6 {
		type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
	}
	map any6 {
		type inet_proto . inet_service : ipv6_addr . inet_service
	}
	set exposed6 {
		type ipv6_addr . inet_proto . inet_service
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
		iifname != "lo" ip daddr 127.0.0.0/8 drop
		iifname != "lo" ip saddr 127.0.0.0/8 drop
		iifname != "corten0" ip daddr 172.17.0.0/16 ip daddr != 172.17.0.1 drop
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		fib daddr type local jump publish
	}
	chain output {
		type nat hook output priority -100; policy accept;
		ip6 daddr ::1 return
		fib daddr type local jump publish
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
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
    assert len(rules_of(routed, "raw-prerouting")) == 2


def test_two_host_ports_to_one_container_port_expose_it_once():
    elements = port_elements([port(), port(host_port=8081)])
    assert len(elements["any4"]) == 2
    assert len(elements["exposed4"]) == 1


def test_many_elements_are_split_over_messages():
    elements = port_elements([port(host_port=n) for n in range(1, 1001)])["any4"]
    requests = nft.add_elements("t", "any4", elements)
    assert len(requests) == 4
    assert all(len(request) < 65536 for request in requests)
