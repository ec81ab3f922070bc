"""Over which network a container's default route leads, while it joins and leaves networks; and a failure on the way."""

import errno
import ipaddress
import socket
from pathlib import Path

import pytest
from tests.kernel.network.world import in_own_world

from corten.engine.networks.settings import ContainerView
from corten.linux.netlink import NetlinkError
from corten.spec.docker.network import EndpointSettings, NetworkCreateRequest

pytestmark = pytest.mark.root


def default_routes():
    """The gateways of the IPv4 default routes here (sysfs and the like show another namespace's)."""
    rows = [line.split() for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]]
    raw = [bytes.fromhex(row[2])[::-1] for row in rows if row[1] == "00000000"]
    return [str(ipaddress.ip_address(address)) for address in raw]


async def running(world, service, **request):
    """A container that runs: its id, and its box; `connect` knows it as "one"."""
    cid, box, _attached = await world.container(service, name="one", **request)
    world.directory.views["one"] = ContainerView(id=cid, name="one", mode=request.get("mode", "bridge"), pid=box.pid)
    return cid, box


async def networks(service, *names):
    """Networks with these names, and their gateways."""
    for name in names:
        await service.catalog.create(NetworkCreateRequest(name=name))
    return [service.catalog.inspect(name).ipam.config[0].gateway for name in names]


def test_the_default_route_follows_priorities_and_then_names():
    async def scenario(world):
        service = await world.service()
        alpha, first, last, zulu = await networks(service, "alpha", "first", "last", "zulu")
        _cid, box = await running(world, service, mode="first")
        assert box.do(default_routes) == [first]

        await service.connect("last", "one", None)
        assert box.do(default_routes) == [first]
        await service.connect("alpha", "one", EndpointSettings(gw_priority=-1))
        assert box.do(default_routes) == [first]
        await service.connect("zulu", "one", EndpointSettings(gw_priority=1))
        assert box.do(default_routes) == [zulu]
        await service.disconnect("zulu", "one")
        assert box.do(default_routes) == [first]
        await service.disconnect("first", "one")
        assert box.do(default_routes) == [last]
        await service.disconnect("last", "one")
        assert box.do(default_routes) == [alpha]
        await service.connect("first", "one", None)
        assert box.do(default_routes) == [first]

    in_own_world(scenario)


def test_a_new_daemon_knows_the_priorities():
    async def scenario(world):
        service = await world.service()
        first, last = await networks(service, "first", "last")
        cid, box = await running(world, service, mode="first")
        await service.connect("last", "one", EndpointSettings(gw_priority=1))
        assert box.do(default_routes) == [last]
        world.kill(service)
        again = await world.service({cid: box.pid})
        await again.connect("bridge", "one", None)
        assert box.do(default_routes) == [last]
        await again.disconnect("last", "one")
        assert box.do(default_routes) == ["172.17.0.1"]
        await again.disconnect("bridge", "one")
        assert box.do(default_routes) == [first]

    in_own_world(scenario)


def test_a_connection_that_fails_gives_the_default_route_back():
    async def scenario(world):
        service = await world.service()
        first, _last = await networks(service, "first", "last")
        _cid, box = await running(world, service, mode="first")

        async def full(*_args, **_kwargs):
            raise OSError(errno.ENOSPC, "no space left for the record")

        known = world.directory.set_endpoint
        world.directory.set_endpoint = full
        with pytest.raises(OSError, match="no space left"):
            await service.connect("last", "one", EndpointSettings(gw_priority=1))
        world.directory.set_endpoint = known
        assert box.do(default_routes) == [first]
        assert service.catalog.inspect("last").containers == {}

    in_own_world(scenario)


def test_an_interface_that_could_not_be_removed_keeps_its_address_until_it_is():
    async def scenario(world):
        service = await world.service()
        await networks(service, "first", "last")
        _cid, _box = await running(world, service, mode="first")
        await service.connect("last", "one", None)
        driver = service._drivers["bridge"]
        known = driver.detach

        def refuse(_endpoint):
            raise NetlinkError(errno.ENOBUFS, "delete the interface")

        driver.detach = refuse
        with pytest.raises(OSError, match="delete the interface"):
            await service.disconnect("last", "one")
        driver.detach = known
        assert service.catalog.inspect("last").containers == {}
        names = {name for _index, name in socket.if_nameindex()}
        _cid, _box, meanwhile = await world.container(service, mode="last")
        assert meanwhile.settings["last"].ip_address.endswith(".3")
        await service._endpoints.collect()
        assert len(names - {name for _index, name in socket.if_nameindex()}) == 1
        _cid, _box, after = await world.container(service, mode="last")
        assert after.settings["last"].ip_address.endswith(".2")

    in_own_world(scenario)
