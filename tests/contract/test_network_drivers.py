"""What every network driver promises (network/driver.py), shown on each driver and mode that there is."""

import asyncio
import os
import secrets
import signal
import socket
import time

import pytest
from tests.contract.network_cases import CASES, LAN, Case
from tests.kernel.network.plugin import PATIENT, PluginServer
from tests.kernel.network.world import ask_tcp, in_own_world, refused_tcp

from corten.engine.networks.drivers import Drivers
from corten.errors import Forbidden, Unavailable
from corten.lib import faultpoint
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.linux.rtnetlink import configure_interfaces
from corten.network.config import DRIVERS_WITH_BRIDGES, Endpoint, host_link
from corten.network.driver import ParentBusy
from corten.network.drivers.bridge import BridgeDriver, veth_name
from corten.network.ipam import mac_of
from corten.network.plugins.client import Plugins

pytestmark = pytest.mark.root

OWNER = "corten-00test"


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


class Host:
    """The host's side: a driver of a daemon, as if just started, and what is there."""

    def __init__(self, case, world, plugins):
        self.case = case
        self.world = world
        self.plugins = plugins
        self.lan = world.neighbour()
        self.lan.do(_route, "10.99.0.0/24", "203.0.113.1")
        self.sockets = []
        self.driver = self.again()

    def again(self):
        """The driver of a new daemon: the last one was killed and knew nothing that this one could ask it."""
        self.sockets.append(NetlinkSocket())
        return Drivers(self.sockets[-1], Plugins(self.plugins, PATIENT), owner=OWNER)[self.case.driver]

    def links(self):
        """All links with their state, and all addresses."""
        found = rtnetlink.list_links(self.sockets[0])
        names = {link.index: link.name for link in found}
        addresses = {(names[i], text) for i, text in rtnetlink.list_addresses(self.sockets[0]) if "fe80" not in text}
        return {(link.name, link.kind, link.flags & 1, link.alias) for link in found}, addresses

    def endpoint(self, network, number, *, ifname="eth0"):
        """The endpoint of the container with this number: what the service decides."""
        address = network.subnets[0].network()[63 + number]
        return Endpoint(
            id=secrets.token_hex(32),
            network=network.id,
            ifname=ifname,
            veth=veth_name(secrets.token_hex(32), 0) if self.case.driver in DRIVERS_WITH_BRIDGES else "",
            mac=mac_of(address),
            ipv4=f"{address}/24",
        )

    async def attach(self, network, endpoint, box):
        """As the service does: again while the container before is on its way out."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return await self.driver.attach(network, endpoint, pid=box.pid)
            except ParentBusy:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.005)

    async def containers(self, network):
        """As many as the network takes, each configured as init does: [(box, endpoint)]."""
        found = []
        for number in range(1, self.case.most + 1):
            box = self.world.box()
            endpoint = self.endpoint(network, number)
            found.append((box, endpoint))
            interface = await self.attach(network, endpoint, box)
            assert interface is not None
            interface["gateway"] = self.driver.gateway(network, endpoint.address(4)) if self.case.routed else None
            box.do(configure_interfaces, [interface])
        return found


async def take_away(driver, network):
    """Remove a network, and wait for what the kernel does for it when nobody waits any more."""
    await driver.remove(network)
    if isinstance(driver, BridgeDriver):
        await driver.settled()


def shown(case, scenario):
    """Run `scenario(host)`. A kernel without this kind of links refuses it; nothing is left then, either."""

    async def run(world):
        async with PluginServer("weave") as plugin:
            host = Host(case, world, plugin.folders)
            before = host.links()
            try:
                await scenario(host)
            except Unavailable:  # which says so in a sentence
                if os.environ.get("CORTEN_GUEST"):
                    raise
            assert host.links() == before

    in_own_world(run)


def interfaces():
    """The names of the interfaces here, but for those that modules make in every namespace."""
    return [name for _index, name in socket.if_nameindex() if name.startswith(("eth", "mine"))]


def addresses():
    with NetlinkSocket() as netlink:
        return [text for _index, text in rtnetlink.list_addresses(netlink) if ":" not in text and "127." not in text]


def test_a_network_is_made_once_and_leaves_no_trace(case):
    async def scenario(host):
        network = case.network()
        host.driver.check(network, [])
        await host.driver.ensure(network, new=True)
        made = host.links()
        await host.driver.ensure(network)
        await host.again().ensure(network)
        assert host.links() == made
        await take_away(host.again(), network)
        await take_away(host.driver, network)

    shown(case, scenario)


def test_a_container_gets_one_interface_with_its_address_and_leaves_no_trace(case):
    async def scenario(host):
        network = case.network()
        await host.driver.ensure(network, new=True)
        try:
            before = host.links()
            for box, endpoint in await host.containers(network):
                assert box.do(interfaces) == ["eth0"]
                assert box.do(addresses) == [endpoint.ipv4]
                await host.driver.detach(endpoint)
                await host.driver.detach(endpoint)
                assert box.do(interfaces) == []
            assert host.links() == before
        finally:
            await take_away(host.driver, network)

    shown(case, scenario)


def test_containers_reach_whom_the_mode_lets_them(case):
    async def scenario(host):
        network = case.network()
        host.lan.serve_tcp(7000)
        await host.driver.ensure(network, new=True)
        try:
            found = await host.containers(network)
            for box, endpoint in found:
                own = str(endpoint.address(4))
                box.serve_tcp(7001)
                if case.lan:
                    assert box.do(ask_tcp, LAN, 7000) == own
                for other, theirs in found:
                    if other is not box and case.members:
                        other.serve_tcp(7002)
                        assert box.do(ask_tcp, str(theirs.address(4)), 7002) == own
                    elif other is not box:
                        other.serve_tcp(7002)
                        assert box.do(refused_tcp, str(theirs.address(4)), 7002)
            for _box, endpoint in found:
                await host.driver.detach(endpoint)
        finally:
            await take_away(host.driver, network)

    shown(case, scenario)


def test_a_daemon_that_is_killed_as_it_makes_a_link_leaves_none_that_the_next_one_does_not_know(case):
    async def scenario(host):
        network = case.network()
        pid = os.fork()
        if pid == 0:
            try:
                faultpoint.arm("network.linked")
                await host.again().ensure(network)
            finally:
                os._exit(0)
        _pid, status = os.waitpid(pid, 0)
        made = host_link(network) in {name for name, *_rest in host.links()[0]}
        assert made == (status == signal.SIGKILL or case.options.get("parent") == "lan0")
        await take_away(host.again(), network)

    shown(case, scenario)


def test_a_new_daemon_takes_away_what_a_killed_one_made(case):
    async def scenario(host):
        network = case.network()
        await host.driver.ensure(network, new=True)
        last = host.again()
        try:
            found = await host.containers(network)
            await last.ensure(network)
            for box, endpoint in found:
                await last.detach(endpoint)
                assert box.do(interfaces) == []
        finally:
            await take_away(last, network)

    shown(case, scenario)


def test_an_endpoint_goes_with_its_container(case):
    async def scenario(host):
        network = case.network()
        await host.driver.ensure(network, new=True)
        try:
            for box, endpoint in await host.containers(network):
                box.end()
                await host.driver.detach(endpoint)
        finally:
            await take_away(host.driver, network)

    shown(case, scenario)


def test_an_address_and_its_mac_move_to_the_next_container_at_once(case):
    """As in a restart: the kernel still tears down the namespace of the one before."""

    async def scenario(host):
        network = case.network()
        await host.driver.ensure(network, new=True)
        try:
            for _round in range(4 if case.most else 0):
                box, endpoint = host.world.box(), host.endpoint(network, 1)
                interface = await host.attach(network, endpoint, box)
                box.do(configure_interfaces, [interface])
                assert box.do(addresses) == [endpoint.ipv4]
                box.end()
                await host.driver.detach(endpoint)
        finally:
            await take_away(host.driver, network)

    shown(case, scenario)


def test_a_dead_process_is_refused_and_leaves_nothing(case):
    async def scenario(host):
        network = case.network()
        await host.driver.ensure(network, new=True)
        try:
            before = host.links()
            box = host.world.box()
            box.end()
            for number in range(1, case.most + 1):
                with pytest.raises(OSError, match="No such process"):
                    await host.driver.attach(network, host.endpoint(network, number), pid=box.pid)
            assert host.links() == before
        finally:
            await take_away(host.driver, network)

    shown(case, scenario)


def test_a_link_of_ours_that_someone_deleted_is_made_again(case):
    async def scenario(host):
        network = case.network()
        before = host.links()
        await host.driver.ensure(network, new=True)
        try:
            made = host.links()
            if made != before and host_link(network):  # a plugin's link is not ours
                host.sockets[0].batch([rtnetlink.delete_link_request(name=host_link(network))], "delete")
            for _box, endpoint in await host.containers(network):
                await host.driver.detach(endpoint)
            assert host.links() == made
        finally:
            await take_away(host.driver, network)

    shown(case, scenario)


def test_what_another_network_stands_on_stays(case):
    async def scenario(host):
        first, second = case.network(), case.network()
        try:
            host.driver.check(second, [first])
        except Forbidden:  # they cannot have one parent
            return
        await host.driver.ensure(second, new=True)
        try:
            alone = host.links()
            await host.driver.ensure(first, new=True)
            await take_away(host.driver, first)
            assert host.links() == alone
        finally:
            await take_away(host.driver, second)

    shown(case, scenario)


def test_the_end_of_a_container_takes_nothing_from_the_next_one(case):
    """Whose interface has the same name, and may have its address, MAC and the number of its namespace."""

    async def scenario(host):
        network = case.network()
        await host.driver.ensure(network, new=True)
        try:
            for box, endpoint in await host.containers(network):
                last = host.endpoint(network, 1)
                last.mac, last.netns = endpoint.mac, endpoint.netns
                await host.driver.detach(last)
                assert box.do(interfaces) == ["eth0"]
                await host.driver.detach(endpoint)
                assert box.do(interfaces) == []
        finally:
            await take_away(host.driver, network)

    shown(case, scenario)


def test_a_link_of_someone_else_under_the_same_name_stays(case):
    async def scenario(host):
        network = case.network()
        await host.driver.ensure(network, new=True)
        try:
            for box, endpoint in await host.containers(network):
                await host.driver.detach(endpoint)
                request = rtnetlink.create_veth_request("theirs", "mine0", mtu=1500, master=0)
                box.do(_batch, request)
                endpoint.ifname = "mine0"
                await host.driver.detach(endpoint)
                assert box.do(interfaces) == ["mine0"]
        finally:
            await take_away(host.driver, network)

    shown(case, scenario)


def test_a_bridge_of_someone_else_serves_a_network_and_stays():
    case = Case("bridge", {"com.docker.network.bridge.name": "theirs0"})

    async def scenario(host):
        _batch(rtnetlink.create_bridge_request("theirs0", mtu=0, mac="02:00:00:00:00:09"))
        network = case.network()
        await host.driver.ensure(network, new=True)
        await take_away(host.driver, network)
        await take_away(host.again(), network)
        assert socket.if_nametoindex("theirs0")
        _batch(rtnetlink.delete_link_request(name="theirs0"))

    shown(case, scenario)


def _route(destination, gateway):
    _batch(rtnetlink.add_route_request(socket.if_nametoindex("eth0"), destination, gateway))


def _batch(request):
    with NetlinkSocket() as netlink:
        netlink.batch([request], "make")
