"""The service against a host that a killed daemon, or someone else, left in some state; connect and disconnect."""

import errno
import socket
from pathlib import Path

import pytest
from tests.kernel.network.packets import sysctl
from tests.kernel.network.world import ask_tcp, in_own_world, refused_tcp

from corten.engine.networks.settings import ContainerView
from corten.errors import Conflict, Forbidden, NotFound, ResourceExhausted, Unavailable
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.network import nft_requests
from corten.network.nft_socket import NftSocket
from corten.spec.docker.network import IPAM, EndpointSettings, IPAMConfig, NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root

WEB = {"80/tcp": [PortBinding(host_port="8080")]}


def links():
    with NetlinkSocket() as netlink:
        return {link.name for link in rtnetlink.list_links(netlink)}


def test_a_new_daemon_takes_living_containers_back_and_removes_strays():
    async def scenario(world):
        first = await world.service()
        lan = world.neighbour()
        await first.catalog.create(NetworkCreateRequest(name="net"))
        cid, web, attached = await world.container(first, port_bindings=WEB)
        dead, _ended, _attached = await world.container(first, mode="net")
        web.serve_tcp(80)
        with NetlinkSocket() as netlink:  # a bridge of ours whose record was never written
            netlink.batch([rtnetlink.create_bridge_request("br-stray", mtu=1500, mac="02:42:00:00:00:09")], "stray")
            index = socket.if_nametoindex("br-stray")
            netlink.batch([rtnetlink.set_link_alias_request(index, "corten-00test")], "stray")
        world.kill(first)
        before = links()

        second = await world.service({cid: web.pid})

        gone = before - links()
        assert gone == {"br-stray", f"veth{dead[:9]}00"}
        assert list(world.endpoints.rows) == [cid]
        assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"
        assert set(second.catalog.inspect("bridge").containers) == {cid}
        _cid, _box, next_one = await world.container(second)
        assert next_one.settings["bridge"].ip_address != attached.settings["bridge"].ip_address
        assert second.catalog.inspect("net").id == first.catalog.inspect("net").id
        await second.release(cid)
        assert lan.do(refused_tcp, "203.0.113.1", 8080)

    in_own_world(scenario)


def test_a_network_that_cannot_be_recorded_leaves_neither_link_nor_rules():
    async def scenario(world):
        service = await world.service()
        with NetlinkSocket() as netlink:
            netlink.batch([rtnetlink.create_bridge_request("theirs0", mtu=1500, mac="02:42:00:00:00:09")], "theirs")
        before = links()
        firewall = service._firewall
        known, put = firewall._bridges, world.networks.put

        def full(*_args):
            raise OSError(errno.ENOSPC, "no space left for the record")

        for options in ({}, {"com.docker.network.bridge.name": "theirs0"}):
            world.networks.put = full
            with pytest.raises(OSError, match="no space left"):
                await service.catalog.create(NetworkCreateRequest(name="net", options=options))
            world.networks.put = put
            await service._drivers.settled()
            assert links() == before
            assert firewall._bridges == known
            with pytest.raises(NotFound):
                service.catalog.inspect("net")
        firewall._table = "no such table " * 99  # too long a name: refused by the kernel
        with pytest.raises(Unavailable):
            await service.catalog.create(NetworkCreateRequest(name="net"))
        await service._drivers.settled()
        assert links() == before
        assert [network.name for network in service.catalog.list_()] == ["host", "none", "bridge"]
        assert len(world.networks.rows) == 3

    in_own_world(scenario)


def test_a_bridge_that_is_being_deleted_is_in_nobodys_way_and_the_next_daemon_takes_it_away():
    async def scenario(world):
        service = await world.service()
        named = NetworkCreateRequest(name="net", options={"com.docker.network.bridge.name": "ctnamed0"})
        before = links()
        for _again in range(3):  # name and subnet are free as soon as the network is removed
            await service.catalog.create(named)
            assert "ctnamed0" in links()
            assert service.catalog.inspect("net").ipam.config[0].subnet == "172.18.0.0/16"
            await service.catalog.remove("net")
            assert "ctnamed0" not in links()
        await service._drivers.settled()
        assert links() == before
        await service.catalog.create(named)
        with NetlinkSocket() as netlink:  # as far as a daemon gets that is killed then
            down = rtnetlink.set_link_request(name="ctnamed0", up=False)
            netlink.batch([down], "down")
            (index,) = (link.index for link in rtnetlink.list_links(netlink) if link.name == "ctnamed0")
            netlink.batch([rtnetlink.set_link_request(index=index, new_name="ctgone7")], "rename")
        world.networks.delete(service.catalog.inspect("net").id)
        await world.service()
        assert links() == before

    in_own_world(scenario)


def test_ports_of_a_container_in_several_networks_lead_where_they_led():
    async def scenario(world):
        first = await world.service()
        lan = world.neighbour()
        await first.catalog.create(NetworkCreateRequest(name="inside", internal=True))
        await first.catalog.create(NetworkCreateRequest(name="outside"))
        both = {"inside": EndpointSettings(), "outside": EndpointSettings()}
        cid, web, _attached = await world.container(first, mode="inside", endpoints=both, port_bindings=WEB)
        web.serve_tcp(80)
        assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"
        world.kill(first)
        await world.service({cid: web.pid})
        assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"

    in_own_world(scenario)


def test_rules_that_someone_flushed_come_back_with_the_next_change():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        _cid, web, _attached = await world.container(service, port_bindings=WEB)
        web.serve_tcp(80)
        stranger = NftSocket()
        stranger.commit([nft_requests.delete_table("corten-00test")], "flush")
        _cid, _box, _attached = await world.container(service, port_bindings={"80/tcp": [PortBinding(host_port="0")]})
        assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"
        stranger.close()

    in_own_world(scenario)


def test_forwarding_is_switched_on_with_a_guard_and_the_guard_stays():
    async def scenario(world):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")  # a new namespace inherits the host's
        await world.service()
        assert sysctl("net/ipv4/ip_forward") == "1"
        rules = NftSocket()
        assert rules.has_chain("corten-00test", "forward-guard")
        await world.service()
        assert rules.has_chain("corten-00test", "forward-guard")
        rules.close()

    in_own_world(scenario)


def test_uninstall_leaves_neither_rules_nor_bridges():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net"))
        await service.uninstall()
        assert links() <= {"lo", "sit0", "tunl0", "gre0", "gretap0", "erspan0", "ip6tnl0"}
        rules = NftSocket()
        assert not rules.has_chain("corten-00test", "prerouting")
        rules.close()

    in_own_world(scenario)


def test_a_subnet_avoids_the_hosts_routes_and_other_networks():
    async def scenario(world):
        with NetlinkSocket() as netlink:
            netlink.batch([rtnetlink.create_bridge_request("vpn0", mtu=1500, mac="02:42:00:00:00:09")], "vpn")
            index = socket.if_nametoindex("vpn0")
            netlink.batch([rtnetlink.add_address_request(index, "172.17.9.1/24")], "vpn")
            netlink.batch([rtnetlink.add_route_request(index, "172.18.0.0/15", "172.17.9.2")], "vpn")
        service = await world.service()
        assert service.catalog.inspect("bridge").ipam.config[0].subnet == "172.20.0.0/16"
        await service.catalog.create(NetworkCreateRequest(name="net"))
        assert service.catalog.inspect("net").ipam.config[0].subnet == "172.21.0.0/16"
        overlapping = IPAM(config=[IPAMConfig(subnet="172.20.128.0/24")])
        with pytest.raises(Forbidden, match="Pool overlaps with other one on this address space"):
            await service.catalog.create(NetworkCreateRequest(name="late", ipam=overlapping))

    in_own_world(scenario)


def test_networks_are_created_listed_and_removed_with_dockers_answers():
    async def scenario(world):
        service = await world.service()
        made = await service.catalog.create(NetworkCreateRequest(name="net", labels={"a": "b"}))
        assert len(made) == 64
        assert {n.name for n in service.catalog.list_()} == {"bridge", "host", "none", "net"}
        assert [n.name for n in service.catalog.list_({"label": ["a=b"]})] == ["net"]
        assert [n.name for n in service.catalog.list_({"type": ["custom"], "dangling": ["true"]})] == ["net"]
        with pytest.raises(Conflict, match="network with name net already exists"):
            await service.catalog.create(NetworkCreateRequest(name="net"))
        with pytest.raises(Forbidden, match="bridge is a pre-defined network and cannot be removed"):
            await service.catalog.remove("bridge")
        with pytest.raises(NotFound, match="network nope not found"):
            service.catalog.inspect("nope")
        cid, box, _attached = await world.container(service, mode="net", name="user")
        with pytest.raises(Forbidden, match='has active endpoints \\(name:"user" id:"'):
            await service.catalog.remove(made[:12])
        assert await service.catalog.prune({}) == []
        await service.release(cid)
        box.end()
        assert await service.catalog.prune({}) == ["net"]
        assert f"br-{made[:12]}" not in links()

    in_own_world(scenario)


def test_a_container_starts_again_while_its_last_pair_lingers():
    async def scenario(world):
        service = await world.service()
        cid, first, attached = await world.container(service)
        await service.release(cid)
        _cid, again, second = await world.container(service, cid=cid, prewarm=True)
        again.serve_tcp(80)
        address = second.settings["bridge"].ip_address
        assert address != attached.settings["bridge"].ip_address
        assert ask_tcp(address, 80) == "172.17.0.1"
        first.end()
        await service.release(cid)
        again.end()
        await service._endpoints.collect()
        assert service._endpoints.lingering() == 0
        assert [name for name in links() if name.startswith("veth")] == []

    in_own_world(scenario)


def test_a_bridge_that_someone_deleted_is_made_again():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        lan.serve_tcp(7000)
        with NetlinkSocket() as netlink:
            netlink.batch([rtnetlink.delete_link_request(name="ct00test")], "delete")
        _cid, box, _attached = await world.container(service)
        assert box.do(ask_tcp, "203.0.113.2", 7000) == "203.0.113.1"

    in_own_world(scenario)


def test_a_container_without_a_network_leaves_its_prepared_interface_to_be_collected():
    async def scenario(world):
        service = await world.service()
        before = links()
        cid, box, attached = await world.container(service, prewarm=True, mode="none")
        assert attached.interfaces == []
        assert list(attached.settings) == ["none"]
        assert attached.renew  # init goes to another namespace: tests/kernel/runtime
        assert len(links() - before) == 1
        await service.release(cid)
        await service.close()
        assert links() == before
        assert [name for name in box.do(link_names) if name.startswith("eth")] == []

    in_own_world(scenario)


def test_a_failed_attach_leaves_nothing():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net"))
        before = links()
        taken = socket.create_server(("127.0.0.1", 8080))
        with pytest.raises(ResourceExhausted):
            await world.container(service, endpoints={"net": EndpointSettings()}, port_bindings=WEB)
        taken.close()
        assert links() == before
        assert world.endpoints.rows == {}
        assert service.catalog.inspect("net").containers == {}
        _cid, _box, attached = await world.container(service, port_bindings=WEB)
        assert attached.settings["bridge"].ip_address == "172.17.0.2"

    in_own_world(scenario)


def link_names():
    return sorted(links())


def test_a_running_container_joins_and_leaves_a_network():
    async def scenario(world):
        service = await world.service()
        directory = world.directory
        await service.catalog.create(NetworkCreateRequest(name="net"))
        cid, one, _attached = await world.container(service, name="one")
        _cid, two, _attached = await world.container(service, mode="net", name="two")
        two.serve_tcp(80)
        directory.views["one"] = ContainerView(id=cid, name="one", mode="bridge", pid=one.pid)
        assert one.do(refused_tcp, "172.18.0.2", 80)

        await service.connect("net", "one", None)

        assert directory.views["one"].networks["net"].ip_address == "172.18.0.3"
        assert one.do(ask_tcp, "172.18.0.2", 80) == "172.18.0.3"
        assert {r.name for r in service.catalog.inspect("net").containers.values()} == {"one", "two"}
        with pytest.raises(Forbidden, match="endpoint with name one already exists in network net"):
            await service.connect("net", "one", None)

        await service.disconnect("net", "one")

        assert "net" not in directory.views["one"].networks
        assert one.do(refused_tcp, "172.18.0.2", 80)
        assert f"veth{cid[:9]}01" not in links()

    in_own_world(scenario)
