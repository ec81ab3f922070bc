"""The embedded DNS server, asked from inside of containers: what each may see, and what never leaves."""

import os
import socket
from collections import Counter

import pytest
from tests.kernel.network.asking import AAAA, MX, PTR, SRV, ask, ask_bytes, ask_many, ask_stream, query, serve
from tests.kernel.network.world import in_own_world

from corten.engine.networks.settings import ContainerView
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.spec.docker.network import EndpointSettings, NetworkCreateRequest

pytestmark = pytest.mark.root

SERVFAIL, NXDOMAIN, NOERROR, FORMERR = 2, 3, 0, 1
LAN = "203.0.113.2"


def upstream(box, address=LAN, **options):
    """A name server in `box` that knows example.test; returns what it tells of each question."""
    reader = box._fork(
        serve, address, {"example.test": "192.0.2.1", "long.example.test": "192.0.2.2"}, *options.values()
    )
    assert os.read(reader, 1) == b"r"
    os.set_blocking(reader, False)
    return reader


def heard(reader):
    """The questions that came so far."""
    try:
        return os.read(reader, 65536).decode().splitlines()
    except BlockingIOError:
        return []


def use_as_host_resolver(world, *servers):
    world.resolv_conf.write("".join(f"nameserver {server}\n" for server in servers))
    world.resolv_conf.flush()


def alias(*names):
    return {"net": EndpointSettings(aliases=list(names))}


def test_containers_find_each_other_by_every_name_and_see_no_other_network():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net", enable_ipv6=True))
        await service.catalog.create(NetworkCreateRequest(name="other", internal=True))
        cid, one, attached = await world.container(
            service, mode="net", name="one", hostname="host1", endpoints=alias("Web", "db.local"), exposed=("80/tcp",)
        )
        _cid, two, _attached = await world.container(service, mode="net", name="two")
        _cid, far, _attached = await world.container(service, mode="other", name="far")
        place = attached.settings["net"]
        assert attached.resolver
        for name in ("one", "ONE.", "wEb", "db.local", cid[:12], "host1", "one.net"):
            rcode, _truncated, question, found = await two.ado(ask, name)
            assert (rcode, found) == (NOERROR, [place.ip_address]), name
            assert question == name.rstrip(".")  # the case is kept: dns0x20
        assert (await two.ado(ask, "one", AAAA))[3] == [place.global_ipv6_address]
        assert await two.ado(ask, "one", MX) == [NOERROR, False, "one", []]
        assert (await two.ado(ask_stream, "one"))[3] == [place.ip_address]
        reverse = ".".join(reversed(place.ip_address.split("."))) + ".in-addr.arpa"
        assert (await two.ado(ask, reverse, PTR))[3] == ["one.net"]
        assert (await two.ado(ask, "_80._tcp.one", SRV))[3][0] == "one:80"
        assert (await two.ado(ask, "_81._tcp.one", SRV))[0] == NXDOMAIN
        assert (await one.ado(ask, "two"))[3] != []
        assert (await far.ado(ask, "one"))[0] == SERVFAIL
        assert (await far.ado(ask, reverse, PTR))[0] == SERVFAIL

    in_own_world(scenario)


def test_a_name_of_many_gives_all_in_changing_order_and_the_unhealthy_vanish():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net"))
        asker, box, _attached = await world.container(service, mode="net", name="asker")
        members = {}
        for number in range(3):
            cid, _box, attached = await world.container(
                service, mode="net", name=f"web{number}", endpoints=alias("web"), checked=True
            )
            members[cid] = attached.settings["net"].ip_address
        firsts = Counter([(await box.ado(ask, "web"))[3][0] for _ in range(40)])
        assert set(firsts) == set(members.values())

        def health(cid, status):
            service.catalog._events.publish("container", f"health_status: {status}", cid, {"name": "x"})

        first, second, third = members
        health(first, "healthy")
        assert (await box.ado(ask, "web"))[3] == [members[first]]  # the others are still starting
        health(second, "healthy")
        health(third, "unhealthy")
        assert set((await box.ado(ask, "web"))[3]) == {members[first], members[second]}
        assert await box.ado(ask, "web2") == [NOERROR, False, "web2", []]
        await service.release(first)
        assert (await box.ado(ask, "web"))[3] == [members[second]]
        service.catalog._events.publish("container", "rename", second, {"name": "renamed"})
        assert (await box.ado(ask, "renamed"))[3] == [members[second]]
        assert (await box.ado(ask, "web1"))[3] == []
        del asker

    in_own_world(scenario)


def test_what_nobody_here_knows_is_asked_outside_with_ids_and_ports_that_cannot_be_guessed():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        questions = upstream(lan)
        use_as_host_resolver(world, LAN)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net", name="one")
        assert await box.ado(ask, "Example.test") == [NOERROR, False, "Example.test", ["192.0.2.1"]]
        assert (await box.ado(ask, "nope.test"))[0] == NXDOMAIN
        assert (await box.ado(ask, "long.example.test"))[1]  # truncated by the server: ask again over TCP
        assert (await box.ado(ask_stream, "long.example.test"))[3] == ["192.0.2.2"]
        assert (await box.ado(ask, "one"))[3] != []
        first = heard(questions)
        assert [line.split()[0] for line in first] == ["Example.test", "nope.test", "long.example.test"]
        assert await box.ado(ask_many, ["example.test"] * 60) == [["192.0.2.1"]] * 60
        asked = [line.split() for line in heard(questions)]
        assert len({port for _name, port, _identity in asked}) > 50
        assert len({identity for _name, _port, identity in asked}) > 50

    in_own_world(scenario)


def test_answers_with_a_wrong_id_or_question_are_not_believed():
    async def scenario(world):
        service = await world.service()
        upstream(world.neighbour(), first_reply="wrong")
        use_as_host_resolver(world, LAN)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net")
        assert (await box.ado(ask, "example.test"))[3] == ["192.0.2.1"]

    in_own_world(scenario)


def test_a_flood_of_wrong_answers_ends_the_question_and_not_the_daemons_other_work():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        lan.do(add_address, "203.0.113.3/24")
        upstream(lan, first_reply="flood")
        upstream(lan, "203.0.113.3")
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net", dns=(LAN,))
        assert (await box.ado(ask, "example.test"))[0] == SERVFAIL
        _cid, box, _attached = await world.container(service, mode="net", dns=(LAN, "203.0.113.3"))
        assert (await box.ado(ask, "example.test"))[3] == ["192.0.2.1"]

    in_own_world(scenario)


def test_a_server_that_is_not_there_is_followed_by_the_next_and_given_ones_replace_the_hosts():
    async def scenario(world):
        service = await world.service()
        questions = upstream(world.neighbour())
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net", dns=("127.0.0.9", LAN))
        assert (await box.ado(ask, "example.test"))[3] == ["192.0.2.1"]
        _cid, own, _attached = await world.container(service, mode="net", dns=("127.0.0.1",))
        assert (await own.ado(ask, "example.test"))[0] == SERVFAIL
        upstream(own, "127.0.0.1")  # --dns 127.0.0.1 is the container's own server
        assert (await own.ado(ask, "example.test"))[3] == ["192.0.2.1"]
        assert len(heard(questions)) == 1

    in_own_world(scenario)


def test_a_server_that_is_silent_is_followed_by_the_next():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        lan.do(add_address, "203.0.113.3/24")
        silent = upstream(lan, "203.0.113.3", first_reply="none")
        upstream(lan)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net", dns=("203.0.113.3", LAN))
        assert (await box.ado(ask, "example.test"))[3] == ["192.0.2.1"]
        assert len(heard(silent)) == 1

    in_own_world(scenario)


def add_address(cidr):
    with NetlinkSocket() as netlink:
        netlink.batch([rtnetlink.add_address_request(socket.if_nametoindex("eth0"), cidr)], "lan")


def test_a_container_that_has_ended_leaves_no_socket_and_no_interface():
    async def scenario(world):
        service = await world.service()
        upstream(world.neighbour())
        use_as_host_resolver(world, LAN)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        before = descriptors()
        cid, box, _attached = await world.container(service, mode="net", name="one")
        assert (await box.ado(ask_many, ["example.test"] * 20)) == [["192.0.2.1"]] * 20
        assert (await box.ado(ask_stream, "one"))[3] != []
        assert len(descriptors() - before) > 3
        await service.release(cid)
        assert descriptors() - before == set()
        box.end()
        await service._endpoints.collect()
        assert service._endpoints.lingering() == 0

    in_own_world(scenario)


def descriptors():
    """The sockets of this process."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return {os.readlink(link) for link in links if os.path.islink(link) and "socket" in os.readlink(link)}


def test_a_resolver_on_the_hosts_loopback_serves_containers():
    async def scenario(world):
        service = await world.service()
        questions = upstream(world.box_of_host(), "127.0.0.53")
        use_as_host_resolver(world, "127.0.0.53")
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net")
        assert (await box.ado(ask, "example.test"))[3] == ["192.0.2.1"]
        assert len(heard(questions)) == 1

    in_own_world(scenario)


def test_nothing_leaves_an_internal_network():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        outside, host = upstream(lan), upstream(world.box_of_host(), "127.0.0.53")
        use_as_host_resolver(world, "127.0.0.53", LAN)
        await service.catalog.create(NetworkCreateRequest(name="net", internal=True))
        await service.catalog.create(NetworkCreateRequest(name="open"))
        cid, box, _attached = await world.container(service, mode="net", name="one", dns=(LAN,))
        _cid, other, _attached = await world.container(service, mode="net", name="two")
        for asker in (box, other):
            for name, kind in (
                ("secret.example.test", 1),
                ("x", 16),
                ("9.9.9.9.in-addr.arpa", PTR),
                ("_x._tcp.y", SRV),
            ):
                assert (await asker.ado(ask, name, kind))[0] == SERVFAIL
            assert (await asker.ado(ask_stream, "secret.example.test"))[0] == SERVFAIL
        assert (await box.ado(ask, "two"))[3] != []
        assert heard(outside) + heard(host) == []
        world.directory.views["one"] = ContainerView(id=cid, name="one", mode="net", pid=box.pid, dns=(LAN,))
        await service.connect("open", "one", None)
        assert (await box.ado(ask, "example.test"))[3] == ["192.0.2.1"]
        assert len(heard(outside)) == 1
        await service.disconnect("open", "one")
        assert (await box.ado(ask, "example.test"))[0] == SERVFAIL
        assert heard(outside) == []

    in_own_world(scenario)


def test_joining_and_leaving_changes_the_answers_and_a_first_network_brings_the_server():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net"))
        cid, box, attached = await world.container(service, name="late")
        _cid, two, _attached = await world.container(service, mode="net", name="two")
        assert not attached.resolver
        assert (await two.ado(ask, "alias1"))[0] == SERVFAIL  # the host has no servers here
        world.directory.views["late"] = ContainerView(id=cid, name="late", mode="bridge", pid=box.pid)
        await service.connect("net", "late", EndpointSettings(aliases=["alias1"]))
        assert (await two.ado(ask, "alias1"))[3] == (await box.ado(ask, "late"))[3] != []
        assert (await box.ado(ask, "two"))[3] != []
        await service.disconnect("net", "late")
        assert (await two.ado(ask, "alias1"))[0] == SERVFAIL
        assert (await box.ado(ask, "two"))[0] == SERVFAIL

    in_own_world(scenario)


class Unreachable:
    """A namespace that cannot be entered."""

    async def open_sockets(self, _cid, _wanted, *, sysctls=None):
        raise OSError("unreachable")


def test_leaving_a_network_is_recorded_when_the_route_cannot_be_moved_too():
    async def scenario(world):
        service = await world.service()
        for name in ("a", "b"):
            await service.catalog.create(NetworkCreateRequest(name=name))
        cid, box, _attached = await world.container(service, mode="a", name="one")
        view = ContainerView(id=cid, name="one", mode="a", pid=box.pid, networks={"a": EndpointSettings()})
        world.directory.views["one"] = view
        await service.connect("b", "one", None)
        service._connections.netns = Unreachable()
        with pytest.raises(OSError, match="unreachable"):
            await service.disconnect("a", "one")
        assert set(view.networks) == {"b"}

    in_own_world(scenario)


def test_a_new_daemon_serves_living_containers_again():
    async def scenario(world):
        first = await world.service()
        await first.catalog.create(NetworkCreateRequest(name="net"))
        cid, box, _attached = await world.container(first, mode="net", name="one", checked=True)
        await first.close()
        assert await box.ado(unanswered)
        await world.service({cid: box.pid})
        assert (await box.ado(ask, "one"))[3] == ["172.18.0.2"]
        assert (await box.ado(ask_stream, "one"))[3] == ["172.18.0.2"]

    in_own_world(scenario)


def unanswered():
    try:
        return ask_bytes(query("one", 1), timeout=0.3) == b""
    except ConnectionRefusedError:
        return True


def test_the_container_has_port_53_for_itself():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, attached = await world.container(service, mode="net", name="one")
        box.serve_udp(53)
        box.serve_tcp(53)
        assert (await box.ado(ask_own, "127.0.0.1")) == "127.0.0.1"
        assert (await box.ado(ask, "one"))[3] == [attached.settings["net"].ip_address]
        assert (await box.ado(ask_stream, "one"))[3] == [attached.settings["net"].ip_address]

    in_own_world(scenario)


def ask_own(server):
    return ask_bytes(b"?", server).decode()


def test_malformed_packets_hurt_nobody():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net", name="one")
        assert await box.ado(throw_at) == []
        assert await box.ado(ask_many, ["one"] * 500) == [["172.18.0.2"]] * 500

    in_own_world(scenario)


def throw_at():
    """Send all kinds of rubbish; returns what was answered as anything else than FORMERR."""
    good = query("one", 1)
    loop = good[:12] + b"\xc0\x0c\0\1\0\1"
    rubbish = [b"", b"x", good[:11], good[:12], good[:-1], loop, good[:12] + b"\x3f" * 300, b"\xff" * 4000]
    bad = []
    for packet in rubbish:
        answer = ask_bytes(packet, timeout=0.1)
        if answer and answer[3] & 15 != FORMERR:
            bad.append(packet.hex())
        with socket.create_connection(("127.0.0.11", 53), 10) as sock:
            sock.sendall(len(packet).to_bytes(2, "big") + packet)
    return bad


def test_more_members_than_a_datagram_holds_come_over_tcp():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net", name="asker")
        place = next(iter(service._endpoints._attached.values())).endpoints[0]
        record = next(iter(service._endpoints._attached.values()))
        network = service._registry.by_name("net")
        for number in range(60):  # as many real containers would take the test's time
            other = type(record)(container=f"{number:064x}", name=f"m{number}")
            where = type(place)(id="x", network=network.id, ipv4=f"172.18.9.{number + 1}/16", dns_names=["many"])
            service._endpoints._names.put(other, [(where, network)])
        rcode, truncated, _question, some = await box.ado(ask, "many")
        assert (rcode, truncated, 20 < len(some) < 40) == (NOERROR, True, True)
        assert len((await box.ado(ask_stream, "many"))[3]) == 60
        assert len((await box.ado(ask_large, "many"))[3]) == 60

    in_own_world(scenario)


def ask_large(name):
    return ask(name, edns=4096)
