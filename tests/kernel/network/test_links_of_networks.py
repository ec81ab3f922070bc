"""Links on the host: kinds that a kernel has not, parents that are busy."""

import asyncio
import subprocess

import pytest
from tests.kernel.network.world import in_own_world

from corten.errors import Unavailable
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.linux.rtnetlink_upper import find_link
from corten.network.driver import ParentBusy
from corten.network.drivers.interface import IPV6_OFF
from corten.network.drivers.links import make_link, require_upper_kind
from corten.spec.docker.network import NetworkCreateRequest

pytestmark = pytest.mark.root


def test_a_kind_of_links_that_the_kernel_has_not_is_refused_in_a_sentence():
    async def run(_world):
        words = "cannot make network net: this kernel has no network interfaces of kind nosuch"
        with NetlinkSocket() as netlink:
            before = rtnetlink.list_links(netlink)
            require_upper_kind(netlink, "macvlan", what="make network net")
            with pytest.raises(Unavailable, match=words) as refused:
                require_upper_kind(netlink, "nosuch", what="make network net")
            assert refused.value.hint.startswith("load its module (modprobe nosuch)")
            request = rtnetlink.create_bridge_request("br0", mtu=0, mac="02:00:00:00:00:09")
            with pytest.raises(Unavailable, match=words):
                make_link(netlink, request.replace(b"bridge", b"nosuch"), kind="nosuch", what="make network net")
            assert len(rtnetlink.list_links(netlink)) == len(before)

    in_own_world(run)


def test_a_link_is_found_by_its_name_alone():
    async def run(_world):
        with NetlinkSocket() as netlink:
            everything = {link.name: link.index for link in rtnetlink.list_links(netlink)}
            assert everything["lo"] == 1
            for name, index in everything.items():
                found = find_link(netlink, name)
                assert (found.name, found.index) == (name, index)
            for name in ("", "nosuch", "n" * 15, "n" * 16, "n" * 300, "\u00e9" * 8):
                assert find_link(netlink, name) is None

    in_own_world(run)


def test_a_second_container_on_a_parent_in_passthru_mode_is_refused_and_the_loop_goes_on_meanwhile():
    async def run(world):
        service = await world.service()
        world.neighbour()
        options = {"parent": "lan0", "macvlan_mode": "passthru"}
        await service.catalog.create(NetworkCreateRequest(name="whole", driver="macvlan", options=options))
        first, box, attached = await world.container(service, mode="whole")
        turns = 0

        async def count():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        with pytest.raises(ParentBusy, match="Device or resource busy"):
            await world.container(service, mode="whole")
        counting.cancel()
        assert turns > 10
        assert list(service.catalog.inspect("whole").containers) == [first]
        await service.release(first)
        box.end()
        _cid, _box, after = await world.container(service, mode="whole")
        assert after.settings["whole"].mac_address == attached.settings["whole"].mac_address

    in_own_world(run)


def test_an_interface_that_came_before_its_namespace_was_prepared_has_no_ipv6_either():
    async def run(_world):
        add = ["ip", "link", "add", "early0", "type", "veth", "peer", "name", "early1"]
        subprocess.run(add, check=True)
        with rtnetlink.prepare_namespace() as netlink:
            interface = {"name": "eth0", "ifname_in_netns": "early0", "sysctls": dict(IPV6_OFF)}
            rtnetlink.configure_interfaces([interface], netlink=netlink, prepared=True)
        with open("/proc/sys/net/ipv6/conf/eth0/disable_ipv6") as file:
            assert file.read() == "1\n"

    in_own_world(run)
