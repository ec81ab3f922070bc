"""Networks of a plugin, as the service makes them: a whole life, a restart, and a plugin that behaves badly."""

import asyncio
import socket

import pytest
from tests.kernel.network.plugin import ABSENT, PATIENT, SILENT, PluginServer, Refusal
from tests.kernel.network.world import ask_tcp, in_own_world

from corten.errors import CortenError, Forbidden, NotFound
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.spec.docker.network import IPAM, EndpointSettings, IPAMConfig, NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root

PUBLISHED = {"Proto": 17, "Port": 81, "HostIP": "127.0.0.1", "HostPort": 8081}
SUBNET = IPAM(config=[IPAMConfig(subnet="10.66.0.0/24")])


def request(name="net", **more):
    return NetworkCreateRequest(**{"name": name, "driver": "weave", "ipam": SUBNET, **more})


def links():
    with NetlinkSocket() as netlink:
        return sorted(link.name for link in rtnetlink.list_links(netlink))


def names_inside():
    return sorted(name for _index, name in socket.if_nameindex() if name.startswith(("eth", "lan", "mine")))


def shown(scenario):
    async def run(world):
        async with PluginServer() as plugin:
            await scenario(world, plugin)

    in_own_world(run)


async def settled(condition):
    """Wait for what happens off the path of a call."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_network_lives_and_ends_with_its_plugin():
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        assert plugin.calls == []  # activated when it is needed
        before = links()
        made = await service.catalog.create(request(options={"speed": "high"}, internal=False))
        plugin.behave["NetworkDriver.EndpointOperInfo"] = {"Value": {"com.docker.network.portmap": [PUBLISHED]}}
        body = plugin.body("NetworkDriver.CreateNetwork")
        assert body["NetworkID"] == made
        assert body["Options"]["com.docker.network.generic"] == {"speed": "high"}
        assert body["IPv4Data"] == [
            {"AddressSpace": "LocalDefault", "Pool": "10.66.0.0/24", "Gateway": "10.66.0.1/24", "AuxAddresses": {}}
        ]
        assert "weave" in service.driver_names()
        first, box, attached = await world.container(
            service,
            mode="net",
            prewarm=True,
            endpoints={"net": EndpointSettings(driver_opts={"lane": "3"})},
            exposed=("80/tcp",),
            port_bindings={"81/udp": [PortBinding(host_ip="127.0.0.1", host_port="8081")]},
        )
        (interface,) = attached.interfaces
        assert (interface["name"], interface["gateway"]) == ("eth0", "10.66.0.1")
        assert plugin.body("NetworkDriver.CreateEndpoint")["Options"] == {"speed": "high", "lane": "3"}
        assert plugin.body("NetworkDriver.CreateEndpoint")["Interface"]["Address"] == "10.66.0.2/24"
        assert plugin.body("NetworkDriver.Join")["SandboxKey"] == f"/proc/{box.pid}/ns/net"
        ports = plugin.body("NetworkDriver.ProgramExternalConnectivity")["Options"]
        assert ports["com.docker.network.endpoint.exposedports"] == [
            {"Proto": 6, "Port": 80},
            {"Proto": 17, "Port": 81},
        ]
        (asked,) = ports["com.docker.network.portmap"]
        assert asked == {
            "Proto": 17,
            "IP": "",
            "Port": 81,
            "HostIP": "127.0.0.1",
            "HostPort": 8081,
            "HostPortEnd": 8081,
        }
        assert attached.ports == {"80/tcp": None, "81/udp": [PortBinding(host_ip="127.0.0.1", host_port="8081")]}
        second, other, _attached = await world.container(service, mode="net")
        other.serve_tcp(7000)
        assert box.do(ask_tcp, "10.66.0.3", 7000) == "10.66.0.2"
        with pytest.raises(Forbidden, match="has active endpoints"):
            await service.catalog.remove("net")
        for cid in (first, second):
            await service.release(cid)
        await service._endpoints.collect()
        assert (plugin.endpoints, plugin.joined) == ({}, set())
        await service.catalog.remove("net")
        assert plugin.networks == {}
        assert links() == before
        assert plugin.asked().count("Plugin.Activate") == 1

    shown(scenario)


def test_running_containers_come_and_go():
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        await service.catalog.create(request())
        routes = [{"Destination": "192.0.2.0/24", "RouteType": 0, "NextHop": "10.66.0.1"}]

        async def join(body):
            return {**plugin.Join("", body), "StaticRoutes": routes, "InterfaceName": {**_named(plugin, body, "lan")}}

        plugin.behave["NetworkDriver.Join"] = join
        plugin.behave["NetworkDriver.ProgramExternalConnectivity"] = {}
        cid, box, _attached = await world.container(service, mode="bridge")
        world.directory.views["c"] = view = _view(cid, box)
        await service.connect("net", "c", None)
        assert box.do(names_inside) == ["eth0", "lan0"]
        assert view.networks["net"].ip_address == "10.66.0.2"
        assert "192.0.2.0/24" in box.do(_destinations)
        await service.disconnect("net", "c")
        assert box.do(names_inside) == ["eth0"]
        assert plugin.endpoints == {}
        await service.connect("net", "c", EndpointSettings(driver_opts={"com.docker.network.endpoint.ifname": "mine0"}))
        assert box.do(names_inside) == ["eth0", "mine0"]
        assert view.networks["net"].ip_address == "10.66.0.2"

    shown(scenario)


def _named(plugin, body, prefix):
    return {"SrcName": f"{plugin.endpoints[body['EndpointID']]}c", "DstPrefix": prefix}


def _destinations():
    with NetlinkSocket() as netlink:
        return [text for _index, text in rtnetlink.list_routes(netlink)]


def _view(cid, box):
    from corten.engine.networks.settings import ContainerView

    return ContainerView(id=cid, name="c", mode="bridge", pid=box.pid)


GARBAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{not json"
HUGE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b'"' + b"x" * (2 << 20)
BAD_ANSWERS = {
    "refuses": (Refusal("not today"), "not today"),
    "says-so-with-200": ({"Err": "not today"}, "not today"),
    "hangs": ("hang", "no answer within 2 s"),
    "no-json": (GARBAGE, "invalid JSON"),
    "no-http": (b"SSH-2.0-OpenSSH\r\n", "its answer is no HTTP"),
    "too-long": (HUGE, "longer than 1048576 bytes"),
    "ends": (b"", "closed the connection without an answer"),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
@pytest.mark.parametrize("method", ["CreateNetwork", "CreateEndpoint", "Join"])
def test_a_bad_answer_is_a_clear_error_and_undone(method, answer):
    async def scenario(world, plugin):
        planned, text = answer
        service = await world.service(**plugin.settings_with(SILENT if planned == "hang" else PATIENT))
        if method != "CreateNetwork":
            await service.catalog.create(request())
        made = links()
        plugin.behave[f"NetworkDriver.{method}"] = planned
        with pytest.raises(CortenError, match=text) as failure:
            if method == "CreateNetwork":
                await service.catalog.create(request())
            else:
                await world.container(service, mode="net")
        assert 'plugin "weave"' in failure.value.message
        assert plugin.endpoints == {}
        assert links() == made
        assert list(world.endpoints.rows) == []
        plugin.behave.clear()
        if method == "CreateNetwork":
            assert [network.name for network in service.catalog.list_()] == ["host", "none", "bridge"]
            await service.catalog.create(request())
        _cid, _box, attached = await world.container(service, mode="net")
        assert attached.addresses == ["10.66.0.2"]  # it was given back

    shown(scenario)


def _joins(**changes):
    return lambda plugin: ("Join", lambda body: {**plugin.Join("", body), **changes})


def _creates(**interface):
    return lambda plugin: ("CreateEndpoint", lambda body: {**plugin.CreateEndpoint("", body), "Interface": interface})


LIES = {
    "no-such-interface": (_joins(InterfaceName={"SrcName": "nowhere0", "DstPrefix": "eth"}), "no interface 'nowhere0'"),
    "our-bridge": (_joins(InterfaceName={"SrcName": "ct00test", "DstPrefix": "eth"}), "not the plugin's to give"),
    "a-path": (_joins(InterfaceName={"SrcName": "../../x", "DstPrefix": "eth"}), "no interface '../../x'"),
    "gateway": (_joins(Gateway="over there"), "unusable gateway 'over there'"),
    "gateway-family": (_joins(Gateway="fd00::1"), "is no IPv4 address"),
    "route": (_joins(StaticRoutes=[{"Destination": "x", "NextHop": "10.66.0.1"}]), "unusable route"),
    "types": (_joins(InterfaceName="eth0"), "invalid JSON"),
    "another-address": (_creates(Address="10.66.0.99/24"), "changed the address 10.66.0.2/24 to 10.66.0.99/24"),
    "unusable-mac": (_creates(MacAddress="zz"), "unusable MAC"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_lie_is_a_clear_error_and_undone(lie):
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        await service.catalog.create(request())
        made = links()
        method, answer = lie[0](plugin)

        async def tell(body):
            return answer(body)

        plugin.behave[f"NetworkDriver.{method}"] = tell
        with pytest.raises(CortenError, match=lie[1]):
            await world.container(service, mode="net")
        assert (plugin.endpoints, plugin.joined) == ({}, set())
        assert links() == made
        assert list(world.endpoints.rows) == []

    shown(scenario)


def test_who_waits_for_a_plugin_keeps_nobody_waiting():
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        await service.catalog.create(request())
        arrived, go = asyncio.Event(), asyncio.Event()

        async def slow(body):
            arrived.set()
            await go.wait()
            return plugin.Join("", body)

        plugin.behave["NetworkDriver.Join"] = slow
        waiting = asyncio.ensure_future(world.container(service, mode="net"))
        await arrived.wait()
        _cid, _box, attached = await world.container(service, mode="bridge")
        assert attached.interfaces
        with pytest.raises(Forbidden, match="has active endpoints"):
            await service.catalog.remove("net")
        go.set()
        assert (await waiting)[2].addresses == ["10.66.0.2"]

    shown(scenario)


def test_the_name_and_subnet_of_a_network_that_is_being_made_are_taken_and_nobody_sees_it():
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        arrived, go = asyncio.Event(), asyncio.Event()

        async def slow(body):
            arrived.set()
            await go.wait()
            return plugin.CreateNetwork("", body)

        plugin.behave["NetworkDriver.CreateNetwork"] = slow
        making = asyncio.ensure_future(service.catalog.create(request()))
        await arrived.wait()
        with pytest.raises(CortenError, match="already exists"):
            await service.catalog.create(request())
        with pytest.raises(Forbidden, match="Pool overlaps"):
            await service.catalog.create(request("other"))
        with pytest.raises(NotFound):
            service.catalog.inspect("net")
        assert "net" not in [network.name for network in service.catalog.list_()]
        go.set()
        made = await making
        assert service.catalog.inspect("net").id == made

    shown(scenario)


def test_networks_and_containers_of_a_plugin_survive_the_daemon():
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        await service.catalog.create(request())
        living, box, _attached = await world.container(service, mode="net")
        _dead, gone, _attached = await world.container(service, mode="net")
        released, _box, _attached = await world.container(service, mode="net")
        await service.release(released)  # the plugin is not told before some seconds have passed
        gone.end()
        world.kill(service)
        await plugin.stop()
        again = await world.service(living={living: box.pid}, **plugin.settings)  # without the plugin
        assert list(again.catalog.inspect("net").containers) == [living]
        await plugin.start()
        await settled(lambda: len(plugin.endpoints) == 1)
        await again._endpoints.collect()
        assert len(world.endpoints.rows) == 1
        _cid, other, attached = await world.container(again, mode="net")
        assert attached.addresses == ["10.66.0.3"]
        other.serve_tcp(7000)
        assert box.do(ask_tcp, "10.66.0.3", 7000) == "10.66.0.2"
        assert plugin.asked().count("NetworkDriver.CreateNetwork") == 1

    shown(scenario)


@pytest.mark.parametrize("method", ["CreateNetwork", "CreateEndpoint", "DeleteNetwork"])
def test_what_a_killed_daemon_had_begun_is_taken_away_by_the_next(method):
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        if method != "CreateNetwork":
            await service.catalog.create(request())
        done = asyncio.Event()

        async def never_told(body):
            getattr(plugin, method)("", body)
            done.set()
            await asyncio.sleep(3600)

        plugin.behave[f"NetworkDriver.{method}"] = never_told
        works = {
            "CreateNetwork": lambda: service.catalog.create(request()),
            "CreateEndpoint": lambda: world.container(service, mode="net"),
            "DeleteNetwork": lambda: service.catalog.remove("net"),
        }
        begun = asyncio.ensure_future(works[method]())
        await done.wait()
        rows = dict(world.networks.rows), dict(world.endpoints.rows)
        world.kill(service)
        begun.cancel()
        await asyncio.gather(begun, return_exceptions=True)
        world.networks.rows, world.endpoints.rows = rows  # what was on disk when it was killed
        plugin.behave.clear()
        again = await world.service(**plugin.settings)
        if method == "CreateEndpoint":
            await settled(lambda: not plugin.endpoints and not world.endpoints.rows)
            assert again.catalog.inspect("net").containers == {}
        else:
            await settled(lambda: not plugin.networks and "net" not in _recorded(again))

    shown(scenario)


def _recorded(service):
    return [network.name for network in service._registry.all()]


def test_a_plugin_that_is_not_there_is_said_to_be_missing():
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        for driver in ("absent", "../weave", "a" * 300):
            with pytest.raises(NotFound, match="not found"):
                await service.catalog.create(request(driver=driver))
        plugin.behave["Plugin.Activate"] = {"Implements": ["VolumeDriver"]}
        with pytest.raises(NotFound, match=r"does not implement NetworkDriver \(it offers VolumeDriver"):
            await service.catalog.create(request())
        plugin.behave.clear()
        await service.catalog.create(request())
        world.kill(service)
        await plugin.stop()
        without = await world.service(**plugin.settings_with(ABSENT))
        with pytest.raises(CortenError, match='plugin "weave"'):
            await without.catalog.remove("net")
        with pytest.raises(CortenError, match='plugin "weave"'):
            await world.container(without, mode="net")
        assert without.catalog.inspect("net").driver == "weave"
        world.kill(without)
        await plugin.start()
        again = await world.service(**plugin.settings)
        await again.catalog.remove("net")

    shown(scenario)
