"""Subnets and addresses that a plugin gives out, for networks of any driver; and networks that have none."""

import asyncio

import pytest
from tests.kernel.network.plugin import PATIENT, SILENT, SPACE, PluginServer, Refusal
from tests.kernel.network.world import ask_tcp, in_own_world

from corten.errors import CortenError, InvalidArgument, NotFound
from corten.spec.docker.network import IPAM, EndpointIPAMConfig, EndpointSettings, IPAMConfig, NetworkCreateRequest

pytestmark = pytest.mark.root


def request(name="net", *configs, driver="bridge", ipam="weave", **more):
    settings = IPAM(driver=ipam, options={"shelf": "top"}, config=list(configs))
    return NetworkCreateRequest(name=name, driver=driver, ipam=settings, **more)


def shown(scenario):
    async def run(world):
        async with PluginServer() as plugin:
            await scenario(world, plugin)

    in_own_world(run)


@pytest.mark.parametrize("driver", ["bridge", "weave"])
def test_a_network_has_its_addresses_from_the_plugin(driver):
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        asked = IPAMConfig(subnet="10.78.0.0/24", ip_range="10.78.0.128/25", auxiliary_addresses={"nas": "10.78.0.9"})
        await service.catalog.create(request("net", asked, driver=driver))
        assert plugin.body("IpamDriver.RequestPool") == {
            "AddressSpace": SPACE,
            "Pool": "10.78.0.0/24",
            "SubPool": "10.78.0.128/25",
            "Options": {"shelf": "top"},
            "V6": False,
        }
        shown = service.catalog.inspect("net").ipam
        assert (shown.driver, shown.options, shown.config[0].gateway) == ("weave", {"shelf": "top"}, "10.78.0.1")
        cid, box, attached = await world.container(service, mode="net")
        fixed = EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="10.78.0.77"))
        second, other, chosen = await world.container(service, mode="net", endpoints={"net": fixed})
        assert (attached.addresses, chosen.addresses) == (["10.78.0.2"], ["10.78.0.77"])
        assert plugin.taken == {"10.78.0.1", "10.78.0.2", "10.78.0.9", "10.78.0.77"}
        other.serve_tcp(7000)
        assert box.do(ask_tcp, "10.78.0.77", 7000) == "10.78.0.2"
        for one in (cid, second):
            await service.release(one)
        for one in world.boxes:
            one.end()
        await service._endpoints.collect()
        assert plugin.taken == {"10.78.0.1", "10.78.0.9"}
        assert list(world.endpoints.rows) == []
        await service.catalog.remove("net")
        assert (plugin.taken, plugin.pools, plugin.networks) == (set(), {}, {})

    shown(scenario)


def test_the_plugin_chooses_subnets_and_is_told_the_mac_when_it_wants_it():
    async def scenario(world, plugin):
        plugin.capabilities["RequiresMACAddress"] = True
        service = await world.service(**plugin.settings)
        await service.catalog.create(request(enable_ipv6=True))
        assert [config.subnet for config in service.catalog.inspect("net").ipam.config] == [
            "10.77.0.0/24",
            "fd00:7::/64",
        ]
        _cid, _box, attached = await world.container(service, mode="net")
        assert attached.addresses == ["10.77.0.2", "fd00:7::2"]
        mac = attached.settings["net"].mac_address
        assert plugin.body("IpamDriver.RequestAddress")["Options"] == {"com.docker.network.endpoint.macaddress": mac}

    shown(scenario)


def test_the_gateway_may_come_with_the_pool():
    async def scenario(world, plugin):
        async def pool(body):
            return {**plugin.RequestPool("", body), "Data": {"com.docker.network.gateway": "10.77.0.254/24"}}

        plugin.behave["IpamDriver.RequestPool"] = pool
        service = await world.service(**plugin.settings)
        await service.catalog.create(request())
        assert service.catalog.inspect("net").ipam.config[0].gateway == "10.77.0.254"
        assert plugin.asked("IpamDriver.RequestAddress") == []

    shown(scenario)


LIES = {
    "pool": ("RequestPool", {"PoolID": "a", "Pool": "everything"}, "unusable pool 'everything'"),
    "pool-family": ("RequestPool", {"PoolID": "a", "Pool": "fd00::/64"}, "not what an IPv4 network can use"),
    "pool-without-id": ("RequestPool", {"Pool": "10.77.0.0/24"}, "not what an IPv4 network can use"),
    "overlap": ("RequestPool", {"PoolID": "id-172.17.0.0/16", "Pool": "172.17.0.0/16"}, "overlaps with another"),
    "gateway": ("RequestAddress", {"Address": "10.99.0.1/24"}, "10.99.0.1 is not in the pool 10.77.0.0/24"),
    "no-address": ("RequestAddress", {}, "unusable address ''"),
    "refuses": ("RequestAddress", Refusal("all gone"), "all gone"),
    "hangs": ("RequestAddress", "hang", "no answer within"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_bad_answer_makes_no_network_and_gives_back_what_was_taken(lie):
    async def scenario(world, plugin):
        method, answer, text = lie
        service = await world.service(**plugin.settings_with(SILENT if answer == "hang" else PATIENT))
        if method == "RequestPool" and "PoolID" in answer:
            plugin.pools[answer["PoolID"]] = answer["Pool"]
        plugin.behave[f"IpamDriver.{method}"] = answer
        with pytest.raises(CortenError, match=text):
            await service.catalog.create(request())
        assert [network.name for network in service.catalog.list_()] == ["host", "none", "bridge"]
        assert (plugin.pools, plugin.taken) == ({}, set())
        plugin.behave.clear()
        await service.catalog.create(request())
        plugin.behave["IpamDriver.RequestAddress"] = {"Address": "10.99.0.5/24"}
        with pytest.raises(CortenError, match=r"10\.99\.0\.5 is not in the pool"):
            await world.container(service, mode="net")
        plugin.behave.clear()
        _cid, _box, attached = await world.container(service, mode="net")
        assert attached.addresses == ["10.77.0.2"]

    shown(scenario)


@pytest.mark.parametrize("replay", [False, True])
def test_after_a_restart_a_plugin_that_forgets_is_told_again(replay):
    async def scenario(world, plugin):
        plugin.capabilities["RequiresRequestReplay"] = replay
        service = await world.service(**plugin.settings)
        await service.catalog.create(request())
        cid, box, _attached = await world.container(service, mode="net")
        world.kill(service)
        if replay:
            plugin.pools, plugin.taken = {}, set()  # it was started again, too
        again = await world.service(living={cid: box.pid}, **plugin.settings)
        await asyncio.gather(*again._tasks)
        assert plugin.pools == {"id-10.77.0.0/24": "10.77.0.0/24"}
        assert plugin.taken == {"10.77.0.1", "10.77.0.2"}
        assert len(plugin.asked("IpamDriver.RequestPool")) == 1 + replay
        _cid, _box, attached = await world.container(again, mode="net")
        assert attached.addresses == ["10.77.0.3"]

    shown(scenario)


def test_a_missing_plugin_is_said_to_be_missing():
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        with pytest.raises(NotFound, match='plugin "absent" not found'):
            await service.catalog.create(request(ipam="absent"))
        assert plugin.calls == []

    shown(scenario)


def test_without_address_management_there_is_an_interface_and_no_address():
    async def scenario(world, plugin):
        service = await world.service(**plugin.settings)
        await service.catalog.create(request(ipam="null"))
        shown = service.catalog.inspect("net").ipam
        assert (shown.driver, [config.subnet for config in shown.config]) == ("null", ["0.0.0.0/0"])
        _cid, _box, attached = await world.container(service, mode="net", prewarm=True)
        (interface,) = attached.interfaces
        assert (interface["addresses"], interface["gateway"], attached.addresses) == ([], None, [])
        assert interface["mac"] == attached.settings["net"].mac_address != ""
        with pytest.raises(InvalidArgument, match="null ipam driver does not handle"):
            await service.catalog.create(request("other", IPAMConfig(subnet="10.78.0.0/24"), ipam="null"))
        fixed = EndpointSettings(ipam_config=EndpointIPAMConfig(ipv4_address="10.78.0.77"))
        with pytest.raises(InvalidArgument, match="has no addresses"):
            await world.container(service, mode="net", endpoints={"net": fixed})
        await service.catalog.create(request("weaves", driver="weave", ipam="null"))
        made = {"Address": "10.79.0.5/24", "MacAddress": "02:00:00:00:00:05"}

        async def chosen(body):
            return {**plugin.CreateEndpoint("", body), "Interface": made}

        plugin.behave["NetworkDriver.CreateEndpoint"] = chosen
        _cid, _box, attached = await world.container(service, mode="weaves")
        assert attached.addresses == ["10.79.0.5"]
        assert attached.settings["weaves"].mac_address == "02:00:00:00:00:05"
        world.kill(service)
        again = await world.service(**plugin.settings)
        assert again.catalog.inspect("net").ipam.driver == "null"
        await again.catalog.remove("net")

    shown(scenario)
