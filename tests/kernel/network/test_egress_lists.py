"""Egress lists, by packets: what a limited container reaches of the outside, the host and other networks."""

import pytest
from tests.kernel.network.egress_world import (
    HOST,
    LAN,
    LAN6,
    OTHER,
    OTHER6,
    WEB,
    WEB6,
    flood,
    outside,
    told,
    tried,
    tried_all,
    until,
)
from tests.kernel.network.packets import bridge_filter_is, table_contents
from tests.kernel.network.world import in_own_world

from corten.engine.networks.egress import check_endpoint
from corten.engine.networks.settings import ContainerView
from corten.errors import InvalidArgument
from corten.network import nft, nft_requests
from corten.network.config import NetworkConfig
from corten.network.nflog import LogSocket
from corten.network.nft_socket import NftSocket
from corten.spec.docker.network import EndpointSettings, NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root


def net(name, rules=None, **options):
    chosen = {} if rules is None else {"corten.egress": rules}
    return NetworkCreateRequest(name=name, enable_ipv6=True, options=chosen, **options)


@pytest.mark.parametrize("bridge_filter", ["0", "1"])
def test_a_limited_container_reaches_what_is_listed_and_its_own_network_and_nothing_else(bridge_filter):
    async def scenario(world):
        bridge_filter_is(bridge_filter)
        service = await world.service(ipv6=True)
        outside(world, {})
        await service.catalog.create(net("own"))
        await service.catalog.create(net("far"))
        ports = {"80/tcp": [PortBinding(host_port="8000")]}
        _cid, peer, mate = await world.container(service, mode="own", port_bindings=ports)
        peer.serve_tcp(80)
        bindings = {"80/tcp": [PortBinding(host_port="8001")], "81/tcp": [PortBinding(host_port="8002")]}
        _cid, other, away = await world.container(service, mode="far", port_bindings=bindings)
        for port in (80, 81):
            other.serve_tcp(port)
        world.box_of_host().serve_tcp(7000)
        far = away.settings["far"].ip_address
        rules = (f"{WEB}:80-442,[{WEB6}]:443/tcp", f"{OTHER6}", f"{far}:80", f"{HOST}:7001")
        _cid, box, _attached = await world.container(service, mode="own", egress=rules)
        own = mate.settings["own"]
        found = await box.ado(
            tried_all,
            [
                ("tcp", WEB, 80), ("tcp", WEB, 443), ("tcp", OTHER, 80), ("udp", WEB, 81), ("udp", OTHER, 81),
                ("tcp", WEB6, 443), ("tcp", WEB6, 80), ("udp", WEB6, 443), ("tcp", OTHER6, 80), ("ping", OTHER6),
                ("ping", WEB6), ("ping", WEB), ("gre", OTHER), ("gre", OTHER6), ("tcp", LAN, 80), ("tcp", LAN6, 80),
                ("tcp", own.ip_address, 80), ("tcp", own.gateway, 7000), ("tcp", HOST, 7000), ("ping", own.gateway),
                ("ping", own.ipv6_gateway), ("tcp", HOST, 8001), ("tcp", HOST, 8002), ("tcp", HOST, 8000),
                ("tcp", HOST, 7001), ("udp", LAN, 53),
            ],
        )  # fmt: skip
        assert found == {
            f"tcp {WEB} 80": "reached",
            f"tcp {WEB} 443": "refused",
            f"tcp {OTHER} 80": "refused",
            f"udp {WEB} 81": "refused",  # nobody serves it: by the outside's own ICMP
            f"udp {OTHER} 81": "refused",
            f"tcp {WEB6} 443": "reached",
            f"tcp {WEB6} 80": "refused",
            f"udp {WEB6} 443": "refused",
            f"tcp {OTHER6} 80": "reached",
            f"ping {OTHER6}": "reached",
            f"ping {WEB6}": "refused",
            f"ping {WEB}": "refused",
            f"gre {OTHER}": "refused",
            f"gre {OTHER6}": "reached",
            f"tcp {LAN} 80": "refused",
            f"tcp {LAN6} 80": "refused",
            f"tcp {own.ip_address} 80": "reached",
            f"tcp {own.gateway} 7000": "refused",
            f"tcp {HOST} 7000": "refused",
            f"ping {own.gateway}": "refused",
            f"ping {own.ipv6_gateway}": "refused",
            f"tcp {HOST} 8001": "reached",  # a published port is what it leads to, which is listed
            f"tcp {HOST} 8002": "refused",
            f"tcp {HOST} 8000": "reached",  # of its own network
            f"tcp {HOST} 7001": "refused",  # let through, but nobody serves it
            f"udp {LAN} 53": "refused",
        }
        assert await peer.ado(tried, "tcp", OTHER, 80) == "reached"  # others are as free as before

    in_own_world(scenario)


def test_it_is_reached_as_ever_and_answers():
    async def scenario(world):
        service = await world.service()
        lan, _reader = outside(world, {})
        await service.catalog.create(net("own"))
        ports = {"80/tcp": [PortBinding(host_port="8000")]}
        _cid, box, attached = await world.container(service, mode="own", egress=(), port_bindings=ports)
        box.serve_tcp(80)
        assert await lan.ado(tried, "tcp", HOST, 8000) == "reached"
        assert tried("tcp", attached.settings["own"].ip_address, 80) == "reached"
        assert await box.ado(tried, "tcp", LAN, 80) == "refused"

    in_own_world(scenario)


def test_a_networks_list_is_for_all_in_it_and_a_container_in_it_may_have_a_narrower_one():
    async def scenario(world):
        service = await world.service(ipv6=True)
        outside(world, {})
        await service.catalog.create(net("listed", f"{WEB},{OTHER}:80,{WEB6}"))
        _cid, any_, _attached = await world.container(service, mode="listed")
        _cid, narrow, _attached = await world.container(service, mode="listed", egress=(f"{WEB}:80", LAN))
        everywhere = [("tcp", WEB, 80), ("tcp", WEB, 443), ("tcp", OTHER, 80), ("tcp", LAN, 80), ("tcp", WEB6, 80)]
        assert list((await any_.ado(tried_all, everywhere)).values()) == [
            "reached", "reached", "reached", "refused", "reached",
        ]  # fmt: skip
        assert list((await narrow.ado(tried_all, everywhere)).values()) == [
            "reached", "refused", "refused", "refused", "refused",
        ]  # fmt: skip
        assert service.catalog.inspect("listed").options["corten.egress"] == f"{WEB},{OTHER}:80,{WEB6}"

    in_own_world(scenario)


def test_a_network_that_is_joined_later_opens_no_door_and_its_list_counts():
    async def scenario(world):
        service = await world.service()
        outside(world, {})
        await service.catalog.create(net("own"))
        await service.catalog.create(net("wide"))
        await service.catalog.create(net("listed", LAN))
        _cid, box, _attached = await world.container(
            service, mode="own", egress=(WEB,), endpoints={"wide": EndpointSettings()}
        )
        assert list((await box.ado(tried_all, [("tcp", WEB, 80), ("tcp", OTHER, 80)])).values()) == [
            "reached", "refused",
        ]  # fmt: skip
        wide = next(n for n in service.catalog.list_() if n.name == "wide").ipam.config[0].gateway
        assert await box.ado(tried, "tcp", wide, 80) == "refused"
        _cid, both, _attached = await world.container(
            service, mode="listed", egress=(WEB, LAN), endpoints={"own": EndpointSettings()}
        )
        assert (await both.ado(tried, "tcp", LAN, 80)) == "reached"

    in_own_world(scenario)


def test_networks_whose_packets_do_not_pass_the_host_take_no_lists():
    async def scenario(world):
        service = await world.service()
        for driver in ("macvlan", "ipvlan"):
            with pytest.raises(InvalidArgument, match=rf"network x \(driver {driver}\)"):
                await service.catalog.create(
                    NetworkCreateRequest(name="x", driver=driver, options={"corten.egress": "none"})
                )
            network = NetworkConfig(id="1", name="y", driver=driver, created="")
            with pytest.raises(InvalidArgument, match=rf"network y \(driver {driver}\)"):
                check_endpoint((), network, service._drivers[driver])
        with pytest.raises(InvalidArgument, match="network host"):
            await world.container(service, mode="host", egress=())
        with pytest.raises(InvalidArgument, match=r"'1\.2\.3'"):
            await service.catalog.create(net("x", "1.2.3"))
        await world.container(service, mode="none", egress=())

    in_own_world(scenario)


def test_without_a_log_to_listen_to_packets_are_rejected_all_the_same():
    async def scenario(world):
        service = await world.service()
        outside(world, {})
        first = service._egress.denials._group
        taken = [LogSocket(group) for group in range(first, first + 16)]  # somebody else's
        _cid, box, _attached = await world.container(service, egress=(WEB,))
        assert service._egress.denials.group is None
        assert list((await box.ado(tried_all, [("tcp", WEB, 80), ("tcp", OTHER, 80)])).values()) == [
            "reached", "refused",
        ]  # fmt: skip
        assert len(taken) == 16

    in_own_world(scenario)


def test_a_flood_of_refused_packets_is_a_few_events():
    async def scenario(world):
        service = await world.service()
        outside(world, {})
        _cid, box, _attached = await world.container(service, egress=(WEB,))
        await box.ado(flood, OTHER, 3000)
        await until(told(world, destination=OTHER, protocol="udp", port="9"))
        assert len(world.directory.told) < 300

    in_own_world(scenario)


def test_changes_make_what_the_whole_would_be():
    async def scenario(world):
        service = await world.service(ipv6=True)
        await service.catalog.create(net("own"))
        await service.catalog.create(net("listed", f"{WEB}:80,web.example"))
        await service.catalog.create(net("wide"))
        cids = []
        for number, (mode, rules) in enumerate(
            [
                ("own", ("10.0.0.0/8:80-90", "*.example")),
                ("listed", None),
                ("wide", None),
                ("own", ()),
                ("listed", (WEB,)),
            ]
        ):
            request = {"endpoints": {"listed": EndpointSettings()}} if mode == "wide" else {}
            cid, box, _attached = await world.container(service, mode=mode, egress=rules, name=f"c{number}", **request)
            world.directory.views[f"c{number}"] = ContainerView(
                id=cid, name=f"c{number}", mode=mode, pid=box.pid, networks={mode: EndpointSettings()}, egress=rules
            )
            cids.append(cid)
        await same_as_whole(service)
        await service.connect("wide", "c0", None)
        await service.disconnect("listed", "c1")
        await service.release(cids[3])
        await service._collect()
        await same_as_whole(service)
        await service.release(cids[4])
        await service.disconnect("listed", "c2")
        await service._collect()
        await same_as_whole(service)
        assert list(service._egress.firewall.limits.lists) == [f"c-{cids[0][:24]}"]

    in_own_world(scenario)


async def same_as_whole(service):
    """The tables in the kernel are those that are made when all of it is made anew."""
    found = [table_contents("corten-00test-egress", family) for family in (1, 7)]
    assert all(found)
    assert service._egress.firewall.restore()
    assert [table_contents("corten-00test-egress", family) for family in (1, 7)] == found


def test_tables_of_vanished_instances_go_and_ours_with_the_last_list():
    async def scenario(world):
        service = await world.service()
        assert tables() == {"corten-00test"}
        cid, _box, _attached = await world.container(service, egress=())
        assert tables() == {"corten-00test", "corten-00test-egress"}
        await service.release(cid)
        await service._collect()
        assert tables() == {"corten-00test"}
        gone = "corten-abcdef-egress"
        stranger = NftSocket()
        families = (nft.NFPROTO_INET, nft.NFPROTO_BRIDGE)
        stranger.commit([nft_requests.add_table(gone, family) for family in families], "make")
        await world.service()
        assert tables() == {"corten-00test"}
        with pytest.raises(OSError, match="No such file"):
            stranger.commit([nft_requests.delete_table(gone, nft.NFPROTO_BRIDGE)], "delete")

    in_own_world(scenario)


def tables():
    return set(NftSocket().tables())
