"""vxlan networks: a service on this host, and a peer on its LAN whose end of the tunnel is made by hand."""

import asyncio
import errno
import ipaddress
import socket
import struct
import time

import pytest
from tests.kernel.network.world import World, ask_tcp, ask_udp, in_own_world, mac_of_link, refused_tcp

from corten.errors import Forbidden, InvalidArgument, NotFound
from corten.linux import rtnetlink, rtnetlink_vxlan
from corten.linux.netlink import NetlinkSocket
from corten.spec.docker.network import IPAM, IPAMConfig, NetworkCreateRequest

pytestmark = pytest.mark.root

OURS = {4: "203.0.113.1", 6: "2001:db8::1"}
PEER = {4: "203.0.113.2", 6: "2001:db8::2"}
STRANGER = {4: "198.51.100.2", 6: "2001:db8:1::2"}
FAR = "10.42.128.1"  # the peer's address inside
WAY = 1500


def request(name="far", *, vni=42, peers=PEER[4], subnet="10.42.0.0/16", part="10.42.0.0/24", options=(), **more):
    return NetworkCreateRequest(
        name=name,
        driver="vxlan",
        options={"vni": str(vni), "peers": peers, **dict(options)},
        ipam=IPAM(config=[IPAMConfig(subnet=subnet, ip_range=part)]),
        **more,
    )


def end_of_tunnel(host, vni, address, mtu):
    """In the peer: its end, without a bridge."""
    name = f"far{vni}"
    with NetlinkSocket() as netlink:
        local = "::" if ":" in host else "0.0.0.0"
        make = rtnetlink_vxlan.create_vxlan_request(name, vni=vni, port=4789, local=local, parent=0, master=0, mtu=mtu)
        netlink.batch([make], "make")
        index = socket.if_nametoindex(name)
        requests = [
            rtnetlink_vxlan.add_destination_request(index, host),
            rtnetlink.add_address_request(index, address),
            rtnetlink.set_link_request(index=index, up=True),
        ]
        netlink.batch(requests, "configure")


def send_whole(host, port, size):
    """A datagram that must not be cut into fragments, echoed: what came back, or the errno."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: IP_PMTUDISC_DO
        client.settimeout(10)
        try:
            client.sendto(bytes(size), (host, port))
            return client.recv(2000).decode()
        except OSError as error:
            return error.errno


def broadcast(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.sendto(b"all", (address, port))
        client.sendto(b"end", (FAR, port))


def smuggle(host, vni, mac, to, port, texts, source="10.42.200.1"):
    """As who is not in the network: datagrams to one in it, in frames, in VXLAN packets."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        for text in texts:
            udp = struct.pack("!HHHH", 4444, port, 8 + len(text), 0) + text.encode()
            ends = socket.inet_aton(source) + socket.inet_aton(to)
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + ends
            total = sum(struct.unpack("!10H", head))
            total = (total & 0xFFFF) + (total >> 16)
            head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
            frame = bytes.fromhex(mac.replace(":", "")) + b"\x02\x00\x00\x00\x00\x99\x08\x00" + head + udp
            sock.sendto(struct.pack("!II", 0x08000000, vni << 8) + frame, (host, 4789))


def vxlan_links():
    with NetlinkSocket() as netlink:
        return [link.name for link in rtnetlink.list_links(netlink) if link.kind == "vxlan"]


def destinations(name):
    with NetlinkSocket() as netlink:
        found = rtnetlink_vxlan.list_entries(netlink, socket.if_nametoindex(name))
        return sorted(address for lladdr, address in found if rtnetlink_vxlan.is_for_all(lladdr))


@pytest.mark.parametrize("version", [4, 6])
def test_containers_and_the_peer_reach_each_other_with_full_sized_packets(version):
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        mtu = WAY - {4: 50, 6: 70}[version]
        await service.catalog.create(request(peers=PEER[version]))
        lan.do(end_of_tunnel, OURS[version], 42, f"{FAR}/16", mtu)
        _cid, box, attached = await world.container(service, mode="far", prewarm=True)
        own = attached.settings["far"].ip_address
        assert (own, attached.settings["far"].gateway) == ("10.42.0.2", "10.42.0.1")
        assert service.catalog.inspect("far").options["com.docker.network.driver.mtu"] == str(mtu)
        lan.serve_tcp(7000)
        lan.serve_udp(7001)
        box.serve_tcp(7002)
        assert box.do(ask_tcp, FAR, 7000) == own
        assert lan.do(ask_tcp, own, 7002) == FAR
        assert box.do(ask_udp, FAR, 7001) == own
        heard = lan.collect_udp(7003)
        box.do(broadcast, "10.42.255.255", 7003)
        assert [text for _sender, text in heard()] == ["all", "end"]
        assert box.do(send_whole, FAR, 7001, mtu - 28) == own
        assert box.do(send_whole, FAR, 7001, mtu - 27) == errno.EMSGSIZE
        assert box.do(ask_tcp, PEER[4], 7000) == OURS[4]  # beyond the network: by NAT, as from a bridge

    in_own_world(scenario)


async def on_a_host(world, peer, part, theirs):
    """A daemon with a vxlan network and a container, which serves and then asks the container of the other host."""
    service = await world.service()
    await service.catalog.create(request(peers=peer, part=part))
    _cid, box, attached = await world.container(service, mode="far")
    box.serve_udp(7001)
    box.serve_tcp(7000)  # last: who reaches it reaches the other, too
    said = [await box.ado(until_it_serves, theirs, 7000), await box.ado(ask_udp, theirs, 7001)]
    box.serve_tcp(7002)  # we have what we wanted
    await box.ado(until_it_serves, theirs, 7002)
    return attached.settings["far"].ip_address, said


def until_it_serves(host, port):
    deadline = time.monotonic() + 30
    while not (found := ask_tcp(host, port)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def far_host():
    async def run():
        world = World()
        try:
            return await on_a_host(world, OURS[4], "10.42.2.0/24", "10.42.1.0")
        finally:
            world.end()

    return asyncio.run(run())


def test_containers_of_two_daemons_reach_each_other():
    async def scenario(world):
        far = world.neighbour().begin(far_host)
        here = await on_a_host(world, PEER[4], "10.42.1.0/24", "10.42.2.0")
        there = await asyncio.to_thread(far)
        assert here == ("10.42.1.0", ["10.42.1.0", "10.42.1.0"])
        assert there == ["10.42.2.0", ["10.42.2.0", "10.42.2.0"]]

    in_own_world(scenario)


def test_another_number_is_another_network():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        await service.catalog.create(request())
        await service.catalog.create(request("other", vni=43, subnet="10.43.0.0/16", part="10.43.0.0/24"))
        lan.do(end_of_tunnel, OURS[4], 42, "10.43.128.1/16", 1450)
        lan.serve_tcp(7000)
        _cid, box, _attached = await world.container(service, mode="other")
        assert box.do(refused_tcp, "10.43.128.1", 7000)
        lan.do(end_of_tunnel, OURS[4], 43, "10.43.128.2/16", 1450)
        lan.do(_forget, "far42")
        assert box.do(ask_tcp, "10.43.128.2", 7000) == "10.43.0.2"

    in_own_world(scenario)


def _forget(name):
    with NetlinkSocket() as netlink:
        netlink.batch([rtnetlink.delete_link_request(name=name)], "delete")


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_stranger_sends_is_dropped_until_it_is_a_peer(version):
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        beyond = world.beyond(lan)
        await service.catalog.create(request(peers=PEER[version]))
        _cid, box, attached = await world.container(service, mode="far")
        to, mac = attached.settings["far"].ip_address, attached.settings["far"].mac_address
        heard = box.collect_udp(7000)
        beyond.do(smuggle, OURS[version], 42, mac, to, 7000, ["stranger"])
        lan.do(smuggle, OURS[version], 42, mac, to, 7000, ["peer"])
        await service.catalog.update_peers("far", add=[STRANGER[version]], remove=[PEER[version]])
        lan.do(smuggle, OURS[version], 42, mac, to, 7000, ["no peer any more"])
        beyond.do(smuggle, OURS[version], 42, mac, to, 7000, ["a peer now", "end"])
        assert [text for _sender, text in heard()] == ["peer", "a peer now", "end"]

    in_own_world(scenario)


def test_a_container_of_another_network_cannot_pass_for_this_host():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        await service.catalog.create(request())
        lan.do(end_of_tunnel, OURS[4], 42, f"{FAR}/16", 1450)
        mac = lan.do(mac_of_link, "far42")
        _cid, box, _attached = await world.container(service, mode="bridge")
        heard = lan.collect_udp(7000)
        box.do(smuggle, PEER[4], 42, mac, FAR, 7000, ["container"])
        world.box_of_host().do(smuggle, PEER[4], 42, mac, FAR, 7000, ["host", "end"])
        assert [text for _sender, text in heard()] == ["host", "end"]

    in_own_world(scenario)


def test_peers_change_and_stay_changed():
    async def scenario(world):
        service = await world.service()
        world.neighbour()
        link = f"vx-{(await service.catalog.create(request()))[:12]}"
        _cid, _box, attached = await world.container(service, mode="far")
        await service.catalog.update_peers("far", add=["203.0.113.9", PEER[4]], remove=[])
        assert destinations(link) == [PEER[4], "203.0.113.9"]
        for add, remove, text in (
            (["2001:db8::9"], [], "one family|IPv4 addresses"),
            ([], ["203.0.113.77"], "is no peer of network far"),
            (["224.0.0.1"], [], "not the address of another host"),
        ):
            with pytest.raises(InvalidArgument, match=text):
                await service.catalog.update_peers("far", add=add, remove=remove)
        with pytest.raises(InvalidArgument, match="network bridge has no peers"):
            await service.catalog.update_peers("bridge", add=["203.0.113.9"], remove=[])
        with pytest.raises(NotFound):
            await service.catalog.update_peers("nowhere", add=["203.0.113.9"], remove=[])
        await service.catalog.update_peers("far", add=[], remove=[PEER[4]])
        world.kill(service)
        again = await world.service(living={next(iter(world.of)): 0})
        assert again.catalog.inspect("far").options["peers"] == "203.0.113.9"
        assert destinations(link) == ["203.0.113.9"]
        assert attached.settings["far"].ip_address == "10.42.0.2"
        _cid, _box, second = await world.container(again, mode="far")
        assert second.settings["far"].ip_address == "10.42.0.3"  # the first one's is taken still

    in_own_world(scenario)


def test_what_cannot_work_is_refused_and_leaves_nothing():
    async def scenario(world):
        service = await world.service()
        world.neighbour()
        await service.catalog.create(request())
        links = vxlan_links()
        other = {"subnet": "10.43.0.0/16", "part": "10.43.0.0/24"}
        with pytest.raises(Forbidden, match="vni 42 on port 4789 is that of network far"):
            await service.catalog.create(request("second", **other))
        with pytest.raises(InvalidArgument, match="the way to the peers leaves 1450 bytes"):
            await service.catalog.create(
                request("big", vni=43, options={"com.docker.network.driver.mtu": "1500"}, **other)
            )
        with pytest.raises(InvalidArgument, match="parent interface was not found on the host: nowhere0"):
            await service.catalog.create(request("lost", vni=43, options={"parent": "nowhere0"}, **other))
        with NetlinkSocket() as netlink:  # someone else's link has the number
            make = rtnetlink_vxlan.create_vxlan_request(
                "theirs", vni=43, port=4789, local="0.0.0.0", parent=0, master=0, mtu=0
            )
            netlink.batch([make], "make")
        with pytest.raises(OSError, match="vni 43, port 4789"):
            await service.catalog.create(request("taken", vni=43, **other))
        assert [network.name for network in service.catalog.list_() if network.driver == "vxlan"] == ["far"]
        assert sorted(vxlan_links()) == sorted([*links, "theirs"])
        await service.catalog.create(request("beside", vni=42, options={"port": "4790"}, **other))

    in_own_world(scenario)


def test_a_killed_daemon_leaves_nothing_that_the_next_one_does_not_take_away():
    async def scenario(world):
        service = await world.service()
        world.neighbour()
        await service.catalog.create(request(internal=True))
        kept = dict(world.networks.rows)
        await service.catalog.create(request("lost", vni=43, subnet="10.43.0.0/16", part="10.43.0.0/24"))
        assert len(vxlan_links()) == 2
        world.kill(service)
        world.networks.rows = kept  # killed before it was recorded
        again = await world.service()
        assert len(vxlan_links()) == 1
        await again.catalog.remove("far")
        assert vxlan_links() == []

    in_own_world(scenario)


def test_the_part_of_a_host_has_its_gateway():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(request(peers="", part="10.42.64.0/20"))
        (config,) = service.catalog.inspect("far").ipam.config
        assert ipaddress.ip_address(config.gateway) == ipaddress.ip_address("10.42.64.1")

    in_own_world(scenario)
