"""macvlan networks as the service makes them: beside the default bridge, over a restart, without their parent."""

import pytest
from tests.kernel.network.world import ask_tcp, in_own_world, refused_tcp

from corten.errors import Conflict
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.spec.docker.network import IPAM, EndpointIPAMConfig, EndpointSettings, IPAMConfig, NetworkCreateRequest

pytestmark = pytest.mark.root

LAN = NetworkCreateRequest(
    name="lan",
    driver="macvlan",
    enable_ipv6=True,
    options={"parent": "lan0"},
    ipam=IPAM(
        config=[
            IPAMConfig(subnet="203.0.113.0/24", ip_range="203.0.113.64/26", gateway="203.0.113.2"),
            IPAMConfig(subnet="2001:db8::/64", ip_range="2001:db8::40/122", gateway="2001:db8::2"),
        ]
    ),
)


def rtnetlink_batch(*requests):
    with NetlinkSocket() as netlink:
        netlink.batch(requests, "change")


def test_a_container_is_a_host_of_its_parents_network():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        lan.serve_tcp(7000)
        await service.catalog.create(LAN)
        _cid, box, attached = await world.container(service, mode="lan", prewarm=True)
        assert attached.settings["lan"].ip_address == "203.0.113.64"
        assert attached.addresses == ["203.0.113.64", "2001:db8::40"]
        assert attached.interfaces[0]["gateway"] == "203.0.113.2"
        assert box.do(ask_tcp, "203.0.113.2", 7000) == "203.0.113.64"
        box.serve_tcp(7001)
        assert lan.do(ask_tcp, "203.0.113.64", 7001) == "203.0.113.2"
        assert refused_tcp("203.0.113.64", 7001)  # the host, over the parent

    in_own_world(scenario)


def test_a_container_in_both_kinds_of_networks_leaves_by_the_one_with_priority():
    async def scenario(world):
        service = await world.service()
        world.neighbour()
        await service.catalog.create(LAN)
        _cid, box, attached = await world.container(
            service, endpoints={"lan": EndpointSettings(gw_priority=1)}, prewarm=True
        )
        assert [interface["name"] for interface in attached.interfaces] == ["eth0", "eth1"]
        assert [interface["gateway"] for interface in attached.interfaces] == [None, "203.0.113.2"]
        box.serve_tcp(7001)
        assert ask_tcp(attached.settings["bridge"].ip_address, 7001) == "172.17.0.1"

    in_own_world(scenario)


def test_an_address_stays_taken_over_a_restart_of_the_daemon_and_is_free_after_the_end():
    async def scenario(world):
        first = await world.service()
        world.neighbour()
        await first.catalog.create(LAN)
        asked = {"lan": EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="203.0.113.99"))}
        cid, box, _attached = await world.container(first, mode="lan", endpoints=asked)
        second = await world.service({cid: box.pid})
        with pytest.raises(Conflict):
            await world.container(second, mode="lan", endpoints=asked)
        await second.release(cid)
        box.end()
        _cid, _box, attached = await world.container(second, mode="lan", endpoints=asked)
        assert attached.settings["lan"].ip_address == "203.0.113.99"

    in_own_world(scenario)


def test_a_daemon_starts_without_the_parent_and_says_what_is_missing():
    async def scenario(world):
        first = await world.service()
        world.neighbour()
        await first.catalog.create(LAN)
        rtnetlink_batch(rtnetlink.delete_link_request(name="lan0"))
        second = await world.service()
        with pytest.raises(OSError, match="find lan0, the parent of network lan"):
            await world.container(second, mode="lan")
        assert second.catalog.inspect("lan").containers == {}
        world.neighbour()
        _cid, _box, attached = await world.container(second, mode="lan")
        assert attached.settings["lan"].ip_address == "203.0.113.64"

    in_own_world(scenario)
