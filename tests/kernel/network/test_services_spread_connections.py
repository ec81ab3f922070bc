"""Services with an address of their own: who gets connections, who keeps them, in clients and on the host."""

import asyncio
import os
import socket
import struct

import pytest
from tests.kernel.network.asking import AAAA, A, ask
from tests.kernel.network.packets import table_contents
from tests.kernel.network.replicas import Talk, UdpTalk, address_of, count, health, replica, who_tcp, who_udp
from tests.kernel.network.world import in_own_world

from corten.errors import InvalidArgument
from corten.linux.netlink import attr, attr_text, nested
from corten.network import nft, nft_requests
from corten.network.nft_balancing import CLIENT_TABLE
from corten.network.nft_socket import NftSocket
from corten.spec.docker.network import IPAM, EndpointSettings, IPAMConfig, NetworkCreateRequest

pytestmark = pytest.mark.root

BOTH = (socket.AF_INET, socket.AF_INET6)
NAMES = ("a", "b", "c")


def labels(**more):
    return {"corten.service": "web", **{f"corten.service.{key}": value for key, value in more.items()}}


async def net(service, name="net", **options):
    await service.catalog.create(NetworkCreateRequest(name=name, **options))


def test_connections_of_both_families_and_protocols_are_spread_evenly():
    async def scenario(world):
        service = await world.service()
        await net(service, enable_ipv6=True)
        boxes = [(await replica(world, service, name, families=BOTH))[1] for name in NAMES]
        _cid, client, _attached = await world.container(service, name="client", mode="net")
        host = world.box_of_host()
        even = {"a": 10, "b": 10, "c": 10}
        for version in (4, 6):
            address = await address_of(service, version=version)
            for box in (client, host):
                assert await box.ado(count, address, 30) == even
            assert await client.ado(count, address, 30, 80, True) == even
            assert await boxes[0].ado(count, address, 30) == even  # members are clients, too, and may get themselves
        found = await service.services.inspect("net/web")
        assert [(member.name, member.connections, member.state) for member in found.members] == [
            (name, 80, "serving") for name in NAMES
        ]
        assert (await client.ado(ask, "web", A))[3] == [await address_of(service)]
        assert (await client.ado(ask, "web.net", AAAA))[3] == [await address_of(service, version=6)]
        assert sorted((await client.ado(ask, "tasks.web", A))[3]) == sorted(m.addresses[0] for m in found.members)

    in_own_world(scenario)


def claim_much(name, slots):
    """In a client that has NET_ADMIN: slots without number in its own map, of members that there are not."""
    filters = NftSocket()
    counter = nested(7, attr_text(1, "counter"), nested(2, attr(1, bytes(8)), attr(2, b"\xff" * 8)))
    for first in range(1000, 1000 + slots, 5000):
        elements = [
            nft.Element("", struct.pack("=I", number), nft.data_value(2, struct.pack("!I", number)) + counter)
            for number in range(first, first + 5000)
        ]
        filters.commit(nft_requests.add_elements(CLIENT_TABLE, name, elements), "claim")
    filters.close()


def test_what_a_client_makes_of_its_own_table_counts_for_nobody():
    async def scenario(world):
        service = await world.service()
        await net(service)
        for name in NAMES[:2]:
            await replica(world, service, name)
        _cid, client, _attached = await world.container(service, name="client", mode="net")
        _cid, hostile, _attached = await world.container(service, name="hostile", mode="net")
        address = await address_of(service)
        for slots in (5000, 60000):  # some that are read and not believed, and more than are read
            hostile.do(claim_much, f"to-{address}", slots)
            before = await service.services.inspect("net/web")
            assert await client.ado(count, address, 20) == {"a": 10, "b": 10}
            found = await service.services.inspect("net/web")
            assert found.connections == before.connections + 20 < 100
            unread = [lane.cid for lane in service._services.maps._lanes.values() if lane.filters is None]
            assert len(unread) == (slots > 5000)
        await replica(world, service, "c")
        assert await client.ado(count, address, 30) == {"a": 10, "b": 10, "c": 10}

    in_own_world(scenario)


def test_a_network_without_a_bridge_has_services():
    async def scenario(world):
        service = await world.service()
        world.neighbour()
        ipam = IPAM(config=[IPAMConfig(subnet="203.0.113.0/24", ip_range="203.0.113.64/26", gateway="203.0.113.2")])
        await net(service, driver="macvlan", options={"parent": "lan0"}, ipam=ipam)
        for name in NAMES:
            await replica(world, service, name)
        _cid, client, _attached = await world.container(service, mode="net")
        assert await client.ado(count, await address_of(service), 6) == {"a": 2, "b": 2, "c": 2}

    in_own_world(scenario)


def test_weights_and_the_clients_address_decide():
    async def scenario(world):
        service = await world.service()
        await net(service)
        for name, weight in (("a", "3"), ("b", "1")):
            await replica(world, service, name, labels=labels(weight=weight))
        for name in NAMES:
            own = {"corten.service": "sticky", "corten.service.balance": "source-hash"}
            await replica(world, service, f"s{name}", labels=own)
        web, sticky = await address_of(service), await address_of(service, "sticky")
        chosen = []
        for _ in range(6):
            _cid, client, _attached = await world.container(service, mode="net")
            assert await client.ado(count, web, 8) == {"a": 6, "b": 2}
            (only, times), *others = (await client.ado(count, sticky, 5)).items()
            assert (times, others) == (5, [])
            chosen.append((client, only))
        assert len({only for _client, only in chosen}) > 1
        assert [service.balance for service in await service.services.list_()] == ["source-hash", "weighted"]
        gone = chosen[0][1]
        cid = next(m.container for m in (await service.services.inspect("sticky")).members if m.name == gone)
        await service.withdraw(cid, drain=False)
        for client, only in chosen:  # only those that had the one that is gone get another
            now = await client.ado(who_tcp, sticky)
            assert now == only if only != gone else now in {"sa", "sb", "sc"} - {gone}

    in_own_world(scenario)


def test_clients_of_a_single_connection_each_do_not_all_get_the_same_member():
    async def scenario(world):
        service = await world.service()
        await net(service)
        for name in NAMES:
            await replica(world, service, name)
        address = await address_of(service)
        got = []
        for _ in range(6):
            _cid, client, _attached = await world.container(service, mode="net")
            got.append(await client.ado(who_tcp, address))
        assert sorted(got) == ["a", "a", "b", "b", "c", "c"]

    in_own_world(scenario)


def test_established_connections_stay_when_members_come_and_go():
    async def scenario(world):
        service = await world.service()
        await net(service)
        ids = {name: (await replica(world, service, name))[0] for name in NAMES}
        _cid, client, _attached = await world.container(service, mode="net")
        host = world.box_of_host()
        address = await address_of(service)
        talks = [Talk(box, address) for box in (client, host) for _ in NAMES]
        for talk in talks:
            talk.say()
        while (await service.services.inspect("web")).connections < len(talks):
            await asyncio.sleep(0.01)
        await service.withdraw(ids["a"], drain=False)
        await replica(world, service, "d")
        await health(service, ids["b"], "unhealthy")
        assert await client.ado(count, address, 10) == {"c": 5, "d": 5}
        assert await host.ado(count, address, 10) == {"c": 5, "d": 5}
        states = {member.name: member.state for member in (await service.services.inspect("web")).members}
        assert states == {"a": "draining", "b": "unhealthy", "c": "serving", "d": "serving"}
        for talk in talks:
            talk.say(20)
        assert sorted(await asyncio.to_thread(lambda: [talk.end() for talk in talks])) == [
            [name, 21] for name in ("a", "a", "b", "b", "c", "c")
        ]
        await health(service, ids["b"], "healthy")
        assert await client.ado(count, address, 9) == {"b": 3, "c": 3, "d": 3}

    in_own_world(scenario)


def test_without_anyone_who_serves_connections_are_refused_at_once():
    async def scenario(world):
        service = await world.service()
        await net(service, enable_ipv6=True)
        cid, _box = await replica(world, service, "a", families=BOTH, started=False)
        _cid, client, _attached = await world.container(service, mode="net")
        host = world.box_of_host()
        addresses = [await address_of(service, version=version) for version in (4, 6)]
        for address in addresses:
            for asker in (client, host):
                assert await asker.ado(who_tcp, address) == "ConnectionRefusedError"
                assert await asker.ado(who_udp, address) in ("PermissionError", "ConnectionRefusedError")
        service.catalog._events.publish("container", "start", cid)
        await service._services.settle()
        assert [await client.ado(who_tcp, address) for address in addresses] == ["a", "a"]
        await service.release(cid)
        await service._services.settle()
        assert await client.ado(who_tcp, addresses[0]) == "ConnectionRefusedError"
        assert (await client.ado(ask, "tasks.web", A))[3] == []
        assert (await client.ado(ask, "web", A))[3] == [addresses[0]]

    in_own_world(scenario)


def test_who_starts_serves_only_while_nobody_is_healthy():
    async def scenario(world):
        service = await world.service()
        await net(service)
        first, _box = await replica(world, service, "a", checked=True)
        second, _box = await replica(world, service, "b", checked=True)
        _cid, client, _attached = await world.container(service, mode="net")
        address = await address_of(service)
        assert await client.ado(count, address, 4) == {"a": 2, "b": 2}
        await health(service, first, "healthy")
        assert await client.ado(count, address, 4) == {"a": 4}
        await health(service, second, "healthy")
        await health(service, first, "unhealthy")
        assert await client.ado(count, address, 4) == {"b": 4}

    in_own_world(scenario)


def test_a_udp_client_that_keeps_its_socket_finds_another_member():
    async def scenario(world):
        service = await world.service()
        await net(service)
        ids = {name: (await replica(world, service, name))[0] for name in ("a", "b")}
        _cid, client, _attached = await world.container(service, mode="net")
        address = await address_of(service)
        for asker in (client, world.box_of_host()):
            talk = UdpTalk(asker, address)
            first = await asyncio.to_thread(talk.ask)
            assert await asyncio.to_thread(talk.ask) == first
            await health(service, ids[first], "unhealthy")
            while service._services._tasks:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(talk.ask) == ({"a", "b"} - {first}).pop()
            await asyncio.to_thread(talk.end)
            await health(service, ids[first], "healthy")

    in_own_world(scenario)


def test_aliases_are_services_where_the_network_says_so():
    async def scenario(world):
        service = await world.service()
        await net(service, options={"corten.services": "vip"})
        await net(service, "plain")
        places = {name: EndpointSettings(aliases=["web", "same"]) for name in ("net", "plain")}
        for name in ("a", "b"):
            await replica(world, service, name, endpoints=places, labels={})
        both = {"net": EndpointSettings(), "plain": EndpointSettings()}
        _cid, client, _attached = await world.container(service, mode="net", endpoints=both)
        assert [s.name for s in await service.services.list_()] == ["same", "web"]
        assert await client.ado(count, await address_of(service), 4) == {"a": 2, "b": 2}
        _cid, other, _attached = await world.container(service, mode="plain")
        assert len((await other.ado(ask, "web", A))[3]) == 2
        with pytest.raises(InvalidArgument, match=r"corten\.services"):
            await net(service, "wrong", options={"corten.services": "both"})

    in_own_world(scenario)


def test_addresses_outlive_the_daemon_and_end_with_the_last_container():
    async def scenario(world):
        first = await world.service()
        await net(first)
        ids, pids = {}, {}
        for name in ("a", "b", "c", "e"):
            ids[name], box = await replica(world, first, name, checked=True)
            pids[ids[name]] = box.pid
        for name in ids:
            await health(first, ids[name], "unhealthy" if name == "c" else "healthy")
        cid, client, _attached = await world.container(first, mode="net")
        address = await address_of(first)
        assert await client.ado(count, address, 6) == {"a": 2, "b": 2, "e": 2}
        talks = [Talk(client, address) for _ in range(3)]
        for talk in talks:
            talk.say()
        while (await first.services.inspect("web")).connections < 9:
            await asyncio.sleep(0.01)
        world.kill(first)
        assert await client.ado(count, address, 3) == {"a": 1, "b": 1, "e": 1}

        box.end()  # of "e", which was made last
        living = {cid: client.pid, **{ids[name]: pids[ids[name]] for name in ("a", "b", "c")}}
        second = await world.service(living)

        assert await address_of(second) == address
        assert await client.ado(count, address, 4) == {"a": 2, "b": 2}
        counted = {m.name: m.connections for m in (await second.services.inspect("web")).members}
        assert counted == {"a": 6, "b": 6, "c": 0}
        for talk in talks:
            talk.say(5)
        ends = await asyncio.gather(*(asyncio.to_thread(talk.end) for talk in talks), return_exceptions=True)
        assert sorted(end for end in ends if isinstance(end, list) and end[0] != "e") == [["a", 6], ["b", 6]]
        await replica(world, second, "d")
        assert await client.ado(count, address, 3) == {"a": 1, "b": 1, "d": 1}
        for key in ("a", "b", "c"):
            await second.release(ids[key])
            second.catalog._events.publish("container", "destroy", ids[key])
        await second._services.settle()
        assert await client.ado(count, address, 2) == {"d": 2}
        second.catalog._events.publish("container", "destroy", ids["e"])
        members = (await second.services.inspect("web")).members
        await second.release(members[0].container)
        assert (await second.services.inspect("web")).addresses == [address]
        second.catalog._events.publish("container", "destroy", members[0].container)
        assert await second.services.list_() == []
        await second._services.settle()
        assert await client.ado(ask, "web", A) != (0, False, "web", [address])
        assert "set services4" not in client.do(table_contents, CLIENT_TABLE)
        assert "set services4" not in table_contents("corten-00test")

    in_own_world(scenario)


def test_a_namespace_that_does_not_answer_keeps_nobody_waiting_for_long():
    async def scenario(world):
        service = await world.service()
        await net(service)
        first, _box = await replica(world, service, "a")
        await replica(world, service, "b")
        slow, _box, _attached = await world.container(service, mode="net")
        _cid, client, _attached = await world.container(service, mode="net")
        address = await address_of(service)
        lane = service._services.maps._lanes[slow]
        async with lane.lock:  # as while a change of its table takes for ever
            await service.withdraw(first, drain=False)
            assert await client.ado(count, address, 4) == {"b": 4}
            assert (await service.services.inspect("web")).connections == 4
        await service._services.settle()
        assert await world.of[slow].ado(count, address, 4) == {"b": 4}

    in_own_world(scenario)


def test_a_container_that_clears_its_own_filter_gets_its_services_with_the_next_change():
    async def scenario(world):
        service = await world.service()
        await net(service)
        first, _box = await replica(world, service, "a")
        await replica(world, service, "b")
        cid, client, _attached = await world.container(service, mode="net")
        address = await address_of(service)
        from corten.network import nft_requests

        filters = service._services.maps._lanes[cid].filters
        filters.commit([nft_requests.delete_table(CLIENT_TABLE)], "what a hostile container can do")
        assert "set services4" not in client.do(table_contents, CLIENT_TABLE)
        await health(service, first, "unhealthy")
        assert await client.ado(count, address, 4) == {"b": 4}

    in_own_world(scenario)


def test_an_ended_client_leaves_no_socket_and_its_connections_stay_counted():
    async def scenario(world):
        service = await world.service()
        await net(service)
        await replica(world, service, "a")
        cid, client, _attached = await world.container(service, mode="net")
        await client.ado(count, await address_of(service), 7)
        before = len(os.listdir("/proc/self/fd"))
        client.end()
        await service.release(cid)
        while service._services.maps._ending:
            await asyncio.sleep(0.01)
        assert len(os.listdir("/proc/self/fd")) < before
        assert (await service.services.inspect("web")).connections == 7

    in_own_world(scenario)
