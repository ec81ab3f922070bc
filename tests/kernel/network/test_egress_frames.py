"""A limited container with NET_RAW and NET_ADMIN sends frames that are not its own: no list is passed by that."""

import os

import pytest
from tests.kernel.network.egress_world import LAN, WEB, WEB6, outside, tried
from tests.kernel.network.frames import (
    address_of_eth0,
    advertisement,
    frame,
    neighbours_know,
    own_mac,
    send_udp6,
    tell_frames,
    udp6,
)
from tests.kernel.network.packets import send_arp, send_udp, sysctl
from tests.kernel.network.world import in_own_world, mac_of_link, send_spoofed_udp

from corten.network.egress_rules import BoundPort
from corten.spec.docker.network import NetworkCreateRequest

pytestmark = pytest.mark.root


@pytest.mark.parametrize("limited", [True, False])
def test_packets_with_a_neighbours_address_do_not_leave(limited):
    """Without a list they do: the neighbour may reach it, and within the network sources are not checked."""

    async def scenario(world):
        service = await world.service(ipv6=True)
        lan, _reader = outside(world, {})
        await service.catalog.create(NetworkCreateRequest(name="net", enable_ipv6=True))
        _cid, peer, mate = await world.container(service, mode="net")
        _cid, box, attached = await world.container(service, mode="net", egress=(f"{LAN}:7001",) if limited else None)
        bridge = f"br-{attached.settings['net'].network_id[:12]}"
        mac, victim = mac_of_link(bridge), mate.settings["net"]
        await peer.ado(tried, "udp", LAN, 7009)
        heard = lan.collect_udp(7000)
        box.do(send_spoofed_udp, "eth0", mac, victim.ip_address, LAN, 7000)
        peer.do(send_udp, LAN, 7000, "end")
        assert (["203.0.113.1", "spoofed"] in heard()) is not limited

    in_own_world(scenario)


def test_frames_that_a_bridge_gives_to_the_host_alone_are_dropped():
    async def scenario(world):
        service = await world.service()
        outside(world, {})
        _cid, box, attached = await world.container(service, egress=())
        _cid, free, _attached = await world.container(service)
        gateway = attached.settings["bridge"].gateway
        heard = world.box_of_host().collect_udp(7000)
        for sender in (box, free):  # the second shows that the host listens to such frames
            sender.do(send_spoofed_udp, "eth0", "01:80:c2:00:00:00", own_address(sender), gateway, 7000)
        free.do(send_udp, gateway, 7000, "end")
        assert [source for source, _text in heard()] == [own_address(free)] * 2

    def own_address(box):
        return box.do(address_of_eth0)

    in_own_world(scenario)


def test_another_mac_is_nobodys_and_other_protocols_do_not_pass():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net", enable_ipv6=True))
        _cid, peer, mate = await world.container(service, mode="net")
        _cid, box, _attached = await world.container(service, mode="net", egress=(WEB,))
        there = mate.settings["net"].global_ipv6_address
        to = peer.do(own_mac)
        reader = peer._fork(tell_frames)
        assert os.read(reader, 1) == b"r"
        box.do(frame, 0x88B5, "00" * 46, to)  # a protocol for experiments
        box.do(frame, 0x8100, "00050800" + "00" * 42, to)  # a VLAN's
        box.do(frame, 0x0800, "45" + "00" * 45, to, "02:00:00:00:00:99")
        for source in ("2001:db8:77::1", "fe80::1234", there):
            box.do(frame, 0x86DD, udp6(source, there, 7000), to)
        box.do(send_udp, mate.settings["net"].ip_address, 7000, "end")
        with open(reader) as heard:
            assert heard.read().split() == ["0800"]

    in_own_world(scenario)


@pytest.mark.parametrize("limited", [True, False])
def test_a_neighbour_is_no_way_outside(limited):
    """Nor is another host of a vxlan network, whose rules know nothing of lists here."""

    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net", enable_ipv6=True))
        _cid, peer, mate = await world.container(service, mode="net")
        _cid, box, attached = await world.container(service, mode="net", egress=() if limited else None)
        own, to = attached.settings["net"], peer.do(own_mac)
        reader = peer._fork(tell_frames)
        assert os.read(reader, 1) == b"r"
        box.do(send_spoofed_udp, "eth0", to, own.ip_address, WEB, 7000)
        box.do(frame, 0x86DD, udp6(own.global_ipv6_address, WEB6, 7000), to)
        box.do(send_spoofed_udp, "eth0", to, own.ip_address, "224.0.0.251", 7000)
        box.do(send_udp, mate.settings["net"].ip_address, 7000, "end")
        with open(reader) as heard:
            assert heard.read().split() == (["0800"] * 2 if limited else ["0800", "86dd", "0800", "0800"])

    in_own_world(scenario)


@pytest.mark.parametrize("limited", [True, False])
def test_lies_about_a_neighbours_address_are_not_passed_on(limited):
    """Without a list they are believed, as within any network with ICC."""

    async def scenario(world):
        service = await world.service(ipv6=True)
        outside(world, {})
        await service.catalog.create(NetworkCreateRequest(name="net", enable_ipv6=True))
        _cid, victim, mate = await world.container(service, mode="net")
        _cid, peer, third = await world.container(service, mode="net")
        _cid, box, attached = await world.container(service, mode="net", egress=(WEB,) if limited else None)
        own, peer_mac = box.do(own_mac), peer.do(own_mac)
        victim.serve_tcp(80)
        peer.do(sysctl, "net/ipv4/neigh/eth0/locktime", "0")
        assert await peer.ado(tried, "tcp", mate.settings["net"].ip_address, 80) == "reached"
        peer.do(send_udp6, mate.settings["net"].global_ipv6_address)
        box.do(send_arp, "eth0", peer_mac, own, mate.settings["net"].ip_address, third.settings["net"].ip_address)
        lie = advertisement(
            attached.settings["net"].global_ipv6_address,
            third.settings["net"].global_ipv6_address,
            mate.settings["net"].global_ipv6_address,
            own,
        )
        box.do(frame, 0x86DD, lie, peer_mac)
        known = [
            peer.do(neighbours_know, address)
            for address in (mate.settings["net"].ip_address, mate.settings["net"].global_ipv6_address)
        ]
        true = victim.do(own_mac)
        assert known == ([true, true] if limited else [own, own])

    in_own_world(scenario)


def test_the_link_local_address_is_that_of_the_mac():
    port = BoundPort(veth="v", mac="02:42:ac:11:00:02", addresses=(), subnets=())
    assert str(port.link_local()) == "fe80::42:acff:fe11:2"
