"""Egress lists with names: what the embedded name server asks outside, what it tells, and what is reachable by it."""

import os
import time

import pytest
from tests.kernel.network.asking import AAAA, PTR, A, ask
from tests.kernel.network.egress_world import (
    CNAME,
    HOST,
    HTTPS,
    LAN,
    METADATA,
    OTHER,
    TXT,
    WEB,
    WEB6,
    heard,
    outside,
    serve_echo,
    talk_until_shut,
    told,
    tried,
    until,
)
from tests.kernel.network.test_rules_are_put_back import flush_ruleset
from tests.kernel.network.world import in_own_world

from corten.engine.networks.settings import ContainerView
from corten.network import egress_firewall
from corten.network.nft_socket import NftSocket
from corten.spec.docker.network import EndpointSettings, NetworkCreateRequest

pytestmark = pytest.mark.root

NOERROR, NXDOMAIN = 0, 3
ALIAS = (CNAME, "0161076578616d706c6500")  # a.example
ZONE = {
    ("web.example", A): (30, [ALIAS, WEB]),
    ("web.example", AAAA): (30, [WEB6]),
    ("web.example", TXT): (30, [(TXT, "026869")]),
    ("web.example", HTTPS): (30, [(HTTPS, "0001000000040004" + "5db8d822")]),
    ("a.debian.example", A): (30, [OTHER]),
    ("debian.example", A): (30, [OTHER]),
    ("brief.example", A): (1, [WEB]),
    ("secret.evil.example", A): (30, [OTHER]),
}


def flush():
    """What `nft flush ruleset` does."""
    NftSocket().commit(flush_ruleset(), "flush")


def test_listed_names_resolve_and_are_reached_and_no_other_leaves_the_engine():
    async def scenario(world):
        service = await world.service(ipv6=True)
        _lan, reader = outside(world, ZONE)
        await service.catalog.create(NetworkCreateRequest(name="net", enable_ipv6=True))
        _cid, _peer, mate = await world.container(service, mode="net", name="peer")
        cid, box, _attached = await world.container(
            service, mode="net", egress=("web.example:80", "*.debian.example"), name="limited"
        )
        assert await box.ado(tried, "tcp", WEB, 80) == "refused"  # not before it was asked for
        assert (await box.ado(ask, "WEB.example"))[3] == [WEB]  # the alias on the way is folded
        assert await box.ado(tried, "tcp", WEB, 80) == "reached"
        assert await box.ado(tried, "tcp", WEB, 443) == "refused"
        assert await box.ado(tried, "tcp", WEB6, 80) == "refused"
        assert (await box.ado(ask, "web.example", AAAA))[3] == [WEB6]
        assert await box.ado(tried, "tcp", WEB6, 80) == "reached"
        assert (await box.ado(ask, "a.debian.example"))[3] == [OTHER]
        assert await box.ado(tried, "tcp", OTHER, 443) == "reached"
        assert (await box.ado(ask, "web.example", TXT))[0] == NOERROR
        assert (await box.ado(ask, "web.example", HTTPS))[3] == []  # its hints would be addresses
        assert (await box.ado(ask, "peer"))[3] == [mate.settings["net"].ip_address]
        assert heard(reader) == ["WEB.example", "web.example", "a.debian.example", "web.example", "web.example"]
        for name, kind in (
            ("debian.example", A),
            ("secret.evil.example", A),
            ("secret.evil.example", TXT),
            ("4.3.2.1.in-addr.arpa", PTR),
        ):
            assert (await box.ado(ask, name, kind))[0] == NXDOMAIN
        assert heard(reader) == []
        assert await box.ado(tried, "udp", LAN, 53) == "refused"
        await until(told(world, destination="secret.evil.example", protocol="dns", domain="secret.evil.example"))
        await until(told(world, destination=WEB, protocol="tcp", port="443", domain="web.example"))
        await until(told(world, destination=LAN, protocol="udp", port="53"))
        assert {known for known, _action, _about in world.directory.told} == {cid}

    in_own_world(scenario)


def test_a_name_of_the_outside_stands_for_no_address_within():
    lies = [METADATA, "127.0.0.1", "172.17.0.1", "172.18.0.2", HOST, "10.1.2.3", "100.100.100.200", "224.0.0.1", WEB]
    lies6 = ["::1", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "ff02::1", WEB6]
    zone = {("re.example", A): (30, lies), ("re.example", AAAA): (30, lies6)}

    async def scenario(world):
        service = await world.service(ipv6=True)
        outside(world, zone)
        await service.catalog.create(NetworkCreateRequest(name="net", enable_ipv6=True))
        _cid, far, away = await world.container(service)
        far.serve_tcp(80)
        _cid, box, attached = await world.container(service, mode="net", egress=("*",))
        assert (await box.ado(ask, "re.example"))[3] == [WEB]
        assert (await box.ado(ask, "re.example", AAAA))[3] == [WEB6]
        world.box_of_host().serve_tcp(80)
        for address in (attached.settings["net"].gateway, HOST, METADATA):
            assert await box.ado(tried, "tcp", address, 80) == "refused"
        assert await box.ado(tried, "tcp", away.settings["bridge"].ip_address, 80, "", 0.5) == "lost"
        _cid, wide, _attached = await world.container(service, mode="net", egress=("*:443", "10.0.0.0/8:80", HOST))
        assert (await wide.ado(ask, "re.example"))[3] == [HOST, "10.1.2.3", WEB]
        assert await wide.ado(tried, "tcp", HOST, 80) == "reached"

    in_own_world(scenario)


def test_an_address_goes_when_its_time_is_over():
    async def scenario(world):
        egress_firewall._LEAST_S, egress_firewall._GRACE_S = 1.0, 0.5  # of this process alone
        service = await world.service()
        outside(world, ZONE)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net", egress=("brief.example",))
        for _round in range(2):  # the second time it is admitted anew
            began = time.monotonic()
            assert (await box.ado(ask, "brief.example"))[3] == [WEB]
            found = await box.ado(tried, "tcp", WEB, 80)
            assert found == "reached" or time.monotonic() - began > 1.5  # a machine that is too busy to see it

            async def gone():
                return await box.ado(tried, "tcp", WEB, 80) == "refused"

            await until(gone)

    in_own_world(scenario)


def test_a_connection_outlives_the_address_that_it_was_let_through_for():
    async def scenario(world):
        egress_firewall._LEAST_S, egress_firewall._GRACE_S = 1.5, 0.5  # of this process alone
        service = await world.service()
        lan, _reader = outside(world, ZONE)
        echo = lan._fork(serve_echo, 7)
        assert os.read(echo, 1) == b"r"
        await service.catalog.create(NetworkCreateRequest(name="net"))
        _cid, box, _attached = await world.container(service, mode="net", egress=("brief.example",))
        assert await box.ado(talk_until_shut, "brief.example", 7) == ["before", "after"]

    in_own_world(scenario)


def test_rules_and_admitted_addresses_outlive_the_daemon_and_a_flush():
    async def scenario(world):
        service = await world.service()
        outside(world, ZONE)
        await service.catalog.create(NetworkCreateRequest(name="net"))
        cid, box, _attached = await world.container(service, mode="net", egress=("web.example", "a.debian.example"))
        assert (await box.ado(ask, "web.example"))[3] == [WEB]
        world.kill(service)
        service._resolvers.close_all()
        assert await box.ado(tried, "tcp", WEB, 80) == "reached"
        assert await box.ado(tried, "tcp", OTHER, 80) == "refused"
        await world.service({cid: box.pid})
        assert await box.ado(tried, "tcp", WEB, 80) == "reached"
        assert await box.ado(tried, "tcp", OTHER, 80) == "refused"
        assert (await box.ado(ask, "secret.evil.example"))[0] == NXDOMAIN
        assert (await box.ado(ask, "a.debian.example"))[3] == [OTHER]
        world.box_of_host().do(flush)

        async def repaired():
            return await box.ado(tried, "tcp", LAN, 80) == "refused"

        await until(repaired)
        assert await box.ado(tried, "tcp", WEB, 80) == "reached"
        assert await box.ado(tried, "tcp", OTHER, 80) == "reached"

    in_own_world(scenario)


def test_the_default_bridge_has_the_name_server_for_limited_containers_alone():
    async def scenario(world):
        service = await world.service()
        _lan, reader = outside(world, ZONE)
        _cid, _free, unlimited = await world.container(service)
        _cid, box, attached = await world.container(service, egress=("web.example",), dns=(LAN,))
        assert attached.resolver
        assert not unlimited.resolver
        assert (await box.ado(ask, "web.example"))[3] == [WEB]  # asked by the engine: the container may not
        assert await box.ado(tried, "tcp", WEB, 443) == "reached"
        assert (await box.ado(ask, "debian.example"))[0] == NXDOMAIN
        assert heard(reader) == ["web.example"]

    in_own_world(scenario)


def test_a_networks_names_are_those_of_all_in_it_and_both_lists_must_have_a_name():
    async def scenario(world):
        service = await world.service()
        _lan, reader = outside(world, ZONE)
        options = {"corten.egress": "*.example:80"}
        await service.catalog.create(NetworkCreateRequest(name="net", options=options))
        await service.catalog.create(NetworkCreateRequest(name="wide"))
        _cid, one, _attached = await world.container(service, mode="net")
        _cid, two, _attached = await world.container(service, mode="net", egress=("web.example", "other.test"))
        assert (await one.ado(ask, "a.debian.example"))[3] == [OTHER]
        assert await one.ado(tried, "tcp", OTHER, 80) == "reached"
        assert await one.ado(tried, "tcp", OTHER, 443) == "refused"
        assert await two.ado(tried, "tcp", OTHER, 80) == "refused"  # its own list has not asked for it
        assert (await two.ado(ask, "web.example"))[3] == [WEB]
        assert await two.ado(tried, "tcp", WEB, 80) == "reached"
        assert await two.ado(tried, "tcp", WEB, 443) == "refused"
        heard(reader)
        for name in ("other.test", "a.debian.example"):
            assert (await two.ado(ask, name))[0] == NXDOMAIN
        assert heard(reader) == []

    in_own_world(scenario)


def test_a_limited_container_that_joins_an_unlimited_network_stays_limited():
    async def scenario(world):
        service = await world.service()
        outside(world, ZONE)
        await service.catalog.create(NetworkCreateRequest(name="net", internal=True))
        await service.catalog.create(NetworkCreateRequest(name="wide"))
        cid, box, _attached = await world.container(service, mode="net", name="c", egress=("web.example",))
        world.directory.views["c"] = ContainerView(
            id=cid, name="c", mode="net", pid=box.pid, networks={"net": EndpointSettings()}, egress=("web.example",)
        )
        await service.connect("wide", "c", None)
        assert (await box.ado(ask, "web.example"))[3] == [WEB]
        assert await box.ado(tried, "tcp", WEB, 80) == "reached"
        assert await box.ado(tried, "tcp", OTHER, 80) == "refused"
        assert (await box.ado(ask, "debian.example"))[0] == NXDOMAIN
        await service.disconnect("wide", "c")
        await service.connect("wide", "c", None)
        assert await box.ado(tried, "tcp", OTHER, 80) == "refused"

    in_own_world(scenario)


def test_what_outlives_the_container_in_its_namespace_stays_limited_until_the_link_is_gone():
    async def scenario(world):
        service = await world.service()
        outside(world, ZONE)
        cid, box, _attached = await world.container(service, egress=(WEB,))
        await service.release(cid)
        assert await box.ado(tried, "tcp", OTHER, 80) == "refused"
        assert await box.ado(tried, "tcp", WEB, 80) == "reached"
        await service._collect()
        assert service._egress.firewall.limits.lists == {}
        with pytest.raises(AssertionError, match="Network is unreachable"):
            await box.ado(tried, "tcp", OTHER, 80)

    in_own_world(scenario)
