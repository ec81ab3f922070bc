"""Published ports that the members of a service share: spread, kept, refused, relayed."""

import asyncio
import socket

import pytest
from tests.kernel.network.replicas import Talk, UdpTalk, count, health, replica, who_tcp
from tests.kernel.network.world import in_own_world, refused_tcp

from corten.errors import ResourceExhausted
from corten.network.ports import PublishPolicy
from corten.spec.docker.network import NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root

BOTH = (socket.AF_INET, socket.AF_INET6)
HOST, HOST6 = "203.0.113.1", "2001:db8::1"


def publish(port=8080, address="", **more):
    binding = [PortBinding(host_ip=address, host_port=str(port), **more)]
    return {"80/tcp": binding, "80/udp": binding}


async def three(world, service, **request):
    """Replicas a, b and c that share port 8080: their ids by name."""
    await service.catalog.create(NetworkCreateRequest(name="net", enable_ipv6=True))
    request.setdefault("port_bindings", publish())
    return {name: (await replica(world, service, name, families=BOTH, **request))[0] for name in "abc"}


def test_connections_from_everywhere_are_spread_evenly():
    async def scenario(world):
        service = await world.service()
        lan, host = world.neighbour(), world.box_of_host()
        await three(world, service)
        even = {"a": 4, "b": 4, "c": 4}
        for box in (lan, host):
            for address in (HOST, HOST6):
                for udp in (False, True):
                    assert await box.ado(count, address, 12, 8080, udp) == even
        assert await host.ado(count, "127.0.0.1", 12, 8080) == even
        assert await host.ado(count, "::1", 12, 8080) == even  # relayed: ::1 is not translated
        _cid, member, _attached = await world.container(service, mode="net")
        assert await member.ado(count, HOST, 12, 8080) == even
        await service.catalog.create(NetworkCreateRequest(name="other"))
        _cid, stranger, _attached = await world.container(service, mode="other")
        assert await stranger.ado(count, HOST, 12, 8080) == even
        found = await service.services.inspect("web")
        assert {(port.published_port, port.target_port, port.protocol) for port in found.ports} == {
            (8080, 80, "tcp"),
            (8080, 80, "udp"),
        }
        assert [member.connections for member in found.members] == [4 * 12] * 3

    in_own_world(scenario)


def test_established_connections_stay_and_new_ones_go_to_who_serves():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        ids = await three(world, service)
        talks = [Talk(lan, HOST, 8080) for _ in range(3)]
        for talk in talks:
            talk.say()
        while (await service.services.inspect("web")).connections < len(talks):
            await asyncio.sleep(0.01)
        udp = UdpTalk(lan, HOST, 8080)
        first = await asyncio.to_thread(udp.ask)
        await health(service, ids[first], "unhealthy")
        others = {"a", "b", "c"} - {first}
        while service._services._tasks:
            await asyncio.sleep(0.01)
        assert await asyncio.to_thread(udp.ask) in others
        await asyncio.to_thread(udp.end)
        assert await lan.ado(count, HOST, 6, 8080) == dict.fromkeys(others, 3)
        for talk in talks:
            talk.say(10)
        assert sorted(await asyncio.to_thread(lambda: [talk.end() for talk in talks])) == [[name, 11] for name in "abc"]
        for cid in ids.values():
            await service.withdraw(cid, drain=False)
        assert await lan.ado(who_tcp, HOST, 8080) == "ConnectionRefusedError"
        for cid in ids.values():
            await service.release(cid)
        host = world.box_of_host()
        assert await host.ado(who_tcp, "127.0.0.1", 8080) == "ConnectionRefusedError"
        with socket.socket() as free:  # the port is let go with the last of them
            free.bind(("0.0.0.0", 8080))

    in_own_world(scenario)


def test_only_members_of_one_service_share_a_port():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        await service.catalog.create(NetworkCreateRequest(name="net"))
        await service.catalog.create(NetworkCreateRequest(name="other"))
        sources = publish(sources=["203.0.113.2"])
        first, _box = await replica(world, service, "a", port_bindings=sources)
        for labels, network in (({}, "net"), ({"corten.service": "db"}, "net"), ({"corten.service": "web"}, "other")):
            with pytest.raises(ResourceExhausted, match=r"Bind for 0\.0\.0\.0:8080 failed: port is already allocated"):
                await replica(world, service, "x", network=network, labels=labels, port_bindings=publish())
        for other in (publish(), publish(sources=["0.0.0.0/0"]), publish(sources=["203.0.113.2", "203.0.113.3"])):
            with pytest.raises(ResourceExhausted, match=r"service web publish the port with another source list"):
                await replica(world, service, "x", port_bindings=other)
        with pytest.raises(ResourceExhausted, match="port is already allocated"):
            await replica(world, service, "x", port_bindings=publish(address="127.0.0.1"))
        await replica(world, service, "b", port_bindings=sources)
        assert await lan.ado(count, HOST, 4, 8080) == {"a": 2, "b": 2}
        beyond = world.beyond(lan)
        assert await beyond.ado(refused_tcp, HOST, 8080)
        await service.release(first)
        await service._services.settle()
        assert await lan.ado(count, HOST, 4, 8080) == {"b": 4}

    in_own_world(scenario)


def test_what_the_daemon_relays_is_spread_too():
    async def scenario(world):
        service = await world.service(publish_policy=PublishPolicy.HOST_FIREWALL)
        lan = world.neighbour()
        ids = await three(world, service)
        for address in (HOST, HOST6):
            for udp in (False, True):
                assert await lan.ado(count, address, 6, 8080, udp) == {"a": 2, "b": 2, "c": 2}
        talks = [Talk(lan, HOST, 8080) for _ in range(3)]
        for talk in talks:
            talk.say()
        while sum(m.connections for m in (await service.services.inspect("web")).members) < 4 * 6 + 3:
            await asyncio.sleep(0.01)
        udp = UdpTalk(lan, HOST, 8080)
        while (first := await asyncio.to_thread(udp.ask)) != "a":
            await asyncio.to_thread(udp.end)
            udp = UdpTalk(lan, HOST, 8080)
        assert await asyncio.to_thread(udp.ask) == first
        await service.withdraw(ids["a"], drain=False)
        assert await asyncio.to_thread(udp.ask) in {"b", "c"}
        await asyncio.to_thread(udp.end)
        assert await lan.ado(count, HOST, 4, 8080) == {"b": 2, "c": 2}
        for talk in talks:
            talk.say(5)
        ends = [asyncio.to_thread(talk.end) for talk in talks]
        assert sorted(await asyncio.gather(*ends)) == [[name, 6] for name in "abc"]

    in_own_world(scenario)


def test_ports_are_shared_again_after_the_daemons_death():
    async def scenario(world):
        first = await world.service()
        lan = world.neighbour()
        ids = await three(world, first)
        assert await lan.ado(count, HOST, 6, 8080) == {"a": 2, "b": 2, "c": 2}
        talks = [Talk(lan, HOST, 8080) for _ in range(3)]
        for talk in talks:
            talk.say()
        while (await first.services.inspect("web")).connections < 6 + len(talks):
            await asyncio.sleep(0.01)
        world.kill(first)
        assert await lan.ado(count, HOST, 6, 8080) == {"a": 2, "b": 2, "c": 2}
        second = await world.service({cid: world.of[cid].pid for cid in ids.values()})
        assert await lan.ado(count, HOST, 6, 8080) == {"a": 2, "b": 2, "c": 2}
        for talk in talks:
            talk.say(5)
        assert sorted(await asyncio.to_thread(lambda: [talk.end() for talk in talks])) == [[n, 6] for n in "abc"]
        assert [m.connections for m in (await second.services.inspect("web")).members] == [7, 7, 7]
        host = world.box_of_host()
        assert await host.ado(count, "::1", 6, 8080) == {"a": 2, "b": 2, "c": 2}

    in_own_world(scenario)
