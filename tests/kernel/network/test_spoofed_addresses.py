"""A container with NET_RAW sends what it likes: foreign source addresses, and lies about who has which address."""

import socket
from pathlib import Path

import pytest
from tests.kernel.network.packets import send_advertisement, send_arp, send_udp, sysctl
from tests.kernel.network.world import ask_tcp, in_own_world, mac_of_link, refused_tcp, send_spoofed_udp

from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.spec.docker.network import EndpointSettings, NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root

FOREIGN = "198.51.100.77"
OF_ANOTHER_NETWORK = "172.18.0.2"
OF_THE_LAN = "203.0.113.9"


def bridges():
    """The names of the host's bridges."""
    with NetlinkSocket() as netlink:
        return [link.name for link in rtnetlink.list_links(netlink) if link.kind == "bridge"]


@pytest.mark.parametrize("source", [FOREIGN, OF_ANOTHER_NETWORK, OF_THE_LAN])
def test_a_container_leaves_its_network_with_no_address_of_others(source):
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        await service.catalog.create(NetworkCreateRequest(name="other"))
        _cid, box, _attached = await world.container(service)
        mac = mac_of_link("ct00test")
        assert box.do(ask_tcp, "203.0.113.2", 7000) == ""  # the neighbour is known to the host by now
        heard = lan.collect_udp(7000)
        box.do(send_spoofed_udp, "eth0", mac, source, "203.0.113.2", 7000)
        box.do(send_udp, "203.0.113.2", 7000, "end")
        assert heard() == [["203.0.113.1", "end"]]

    in_own_world(scenario)


def test_without_the_rules_a_foreign_address_does_leave():
    """The test above can fail: this is what Docker lets through."""

    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        _cid, box, _attached = await world.container(service)
        mac = mac_of_link("ct00test")
        service._firewall.uninstall()
        sysctl("net/ipv4/conf/all/rp_filter", "0")
        sysctl("net/ipv4/conf/ct00test/rp_filter", "0")
        sysctl_of_lan = ("net/ipv4/conf/eth0/rp_filter", "net/ipv4/conf/all/rp_filter")
        for name in sysctl_of_lan:
            lan.do(sysctl, name, "0")
        heard = lan.collect_udp(7000)
        box.do(send_spoofed_udp, "eth0", mac, FOREIGN, "203.0.113.2", 7000)
        send_udp("203.0.113.2", 7000, "end")
        assert [FOREIGN, "spoofed"] in heard()

    in_own_world(scenario)


@pytest.mark.parametrize("icc", [True, False])
def test_lies_about_the_gateway_reach_neighbours_only_where_containers_may_talk(icc):
    """Within a network with ICC containers trust one another, as with Docker; without, no frame gets across."""

    async def scenario(world):
        service = await world.service(icc=icc)
        lan = world.neighbour()
        lan.serve_tcp(7000)
        _cid, victim, attached = await world.container(service)
        _cid, attacker, _attached = await world.container(service)
        victim.do(sysctl, "net/ipv4/neigh/eth0/locktime", "0")
        assert victim.do(ask_tcp, "203.0.113.2", 7000) == "203.0.113.1"
        own, target = attacker.do(mac_of_link, "eth0"), victim.do(mac_of_link, "eth0")
        address = attached.settings["bridge"].ip_address
        attacker.do(send_arp, "eth0", target, own, "172.17.0.1", address)
        assert victim.do(refused_tcp, "203.0.113.2", 7000) is icc

    in_own_world(scenario)


def test_lies_about_a_container_of_another_network_are_not_believed():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="other"))
        _cid, victim, attached = await world.container(service, mode="other")
        _cid, attacker, _attached = await world.container(service)
        victim.serve_tcp(80)
        address = attached.settings["other"].ip_address
        for bridge in ("ct00test", "all"):
            sysctl(f"net/ipv4/conf/{bridge}/arp_accept", "1")
        assert ask_tcp(address, 80)
        own = attacker.do(mac_of_link, "eth0")
        attacker.do(send_arp, "eth0", mac_of_link("ct00test"), own, address, "172.17.0.1")
        assert ask_tcp(address, 80)

    in_own_world(scenario)


@pytest.mark.parametrize("icc", [True, False])
def test_lies_of_neighbour_discovery_reach_neighbours_only_where_containers_may_talk(icc):
    """The same in IPv6: an advertisement nobody asked for that overrides what the neighbour knew (RFC 4861, 7.2.5)."""

    async def scenario(world):
        service = await world.service()
        options = {} if icc else {"com.docker.network.bridge.enable_icc": "false"}
        await service.catalog.create(NetworkCreateRequest(name="six", enable_ipv6=True, options=options))
        lan = world.neighbour()
        lan.serve_tcp(7000, socket.AF_INET6)
        _cid, victim, attached = await world.container(service, mode="six")
        _cid, attacker, of_attacker = await world.container(service, mode="six")
        assert victim.do(ask_tcp, "2001:db8::2", 7000) == "2001:db8::1"
        own, target = attacker.do(mac_of_link, "eth0"), victim.do(mac_of_link, "eth0")
        source = of_attacker.settings["six"].global_ipv6_address
        settings = attached.settings["six"]
        lie = (source, settings.ipv6_gateway, settings.global_ipv6_address)
        attacker.do(send_advertisement, "eth0", target, own, *lie)
        assert victim.do(refused_tcp, "2001:db8::2", 7000) is icc

    in_own_world(scenario)


def test_lies_of_neighbour_discovery_about_another_network_are_not_believed():
    async def scenario(world):
        service = await world.service()
        for name in ("six", "other"):
            await service.catalog.create(NetworkCreateRequest(name=name, enable_ipv6=True))
        _cid, victim, attached = await world.container(service, mode="six")
        _cid, attacker, of_attacker = await world.container(service, mode="other")
        victim.serve_tcp(80, socket.AF_INET6)
        address, settings = attached.settings["six"].global_ipv6_address, of_attacker.settings["other"]
        lie = (settings.global_ipv6_address, address, settings.ipv6_gateway)
        assert ask_tcp(address, 80)
        own = attacker.do(mac_of_link, "eth0")
        for bridge in bridges():
            sysctl(f"net/ipv6/conf/{bridge}/accept_untracked_na", "2")  # the most credulous host
            attacker.do(send_advertisement, "eth0", mac_of_link(bridge), own, *lie)
        assert ask_tcp(address, 80)

    in_own_world(scenario)


def test_a_container_in_two_networks_may_answer_by_the_other_one():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        await service.catalog.create(NetworkCreateRequest(name="other"))
        ways = {"bridge": EndpointSettings(), "other": EndpointSettings(gw_priority=10)}
        ports = {"80/tcp": [PortBinding(host_port="8080")]}
        _cid, box, attached = await world.container(service, endpoints=ways, port_bindings=ports)
        assert [interface["gateway"] for interface in attached.interfaces] == [None, "172.18.0.1"]
        for name in ("all", "eth0", "eth1"):
            box.do(sysctl, f"net/ipv4/conf/{name}/rp_filter", "0")
        for link in Path("/proc/sys/net/ipv4/conf").iterdir():
            sysctl(f"net/ipv4/conf/{link.name}/rp_filter", "0")
        box.serve_tcp(80)
        assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"

    in_own_world(scenario)
