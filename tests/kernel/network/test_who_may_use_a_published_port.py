"""Source lists of ports, and the daemon's publish.policy."""

import socket

import pytest
from tests.kernel.network.world import ask_tcp, ask_udp, in_own_world, refused_tcp

from corten.errors import FailedPrecondition
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.network import nft, nft_requests
from corten.network.nft_socket import NftSocket
from corten.network.ports import PublishPolicy
from corten.spec.docker.network import NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root

WEB = {"80/tcp": [PortBinding(host_port="8080")], "53/udp": [PortBinding(host_port="5353")]}
LISTED = {"80/tcp": [PortBinding(host_port="8080", sources=["203.0.113.0/24"]), PortBinding(host_port="8081")]}


def test_a_source_list_lets_in_whom_it_names_and_the_host_itself_also_after_a_restart():
    async def scenario(world):
        first = await world.service()
        lan = world.neighbour()
        beyond = world.beyond(lan)
        cid, web, _attached = await world.container(first, port_bindings=LISTED)
        _cid, other, _attached = await world.container(first)
        web.serve_tcp(80)
        for service in (first, None):
            if service is None:
                world.kill(first)
                service = await world.service({cid: web.pid})
            assert lan.do(ask_tcp, "203.0.113.1", 8080) == "203.0.113.2"
            assert beyond.do(refused_tcp, "203.0.113.1", 8080)
            assert beyond.do(ask_tcp, "203.0.113.1", 8081) == "198.51.100.2"
            assert other.do(refused_tcp, "203.0.113.1", 8080)
            assert ask_tcp("127.0.0.1", 8080) == "172.17.0.1"
            assert await lan.ado(refused_tcp, "2001:db8::1", 8080)  # the list names no IPv6: the relay is shut, too
            assert await lan.ado(ask_tcp, "2001:db8::1", 8081) == "172.17.0.1"

    in_own_world(scenario)


def test_a_source_list_of_ipv6():
    async def scenario(world):
        service = await world.service(ipv6=True)
        lan = world.neighbour()
        beyond = world.beyond(lan)
        ports = {"80/tcp": [PortBinding(host_ip="2001:db8::1", host_port="8080", sources=["2001:db8:1::2/128"])]}
        _cid, web, _attached = await world.container(service, port_bindings=ports)
        web.serve_tcp(80, socket.AF_INET6)
        assert beyond.do(ask_tcp, "2001:db8::1", 8080) == "2001:db8:1::2"
        assert lan.do(refused_tcp, "2001:db8::1", 8080)

    in_own_world(scenario)


def test_a_routed_network_takes_no_source_list():
    async def scenario(world):
        service = await world.service()
        options = {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
        await service.catalog.create(NetworkCreateRequest(name="net", options=options))
        with pytest.raises(FailedPrecondition, match="network net is routed"):
            await world.container(service, mode="net", port_bindings=LISTED)

    in_own_world(scenario)


def forbid_from_lan():
    """The host's own policy: nothing comes in from the neighbour."""
    rule = (nft.interface("iifname", "lan0"), nft.verdict("drop"))
    table = nft.Table("hostpolicy", (), (nft.Chain("input", (rule,), "filter", "input", 0),))
    rules = NftSocket()
    rules.commit(nft_requests.replace_table(table), "the host's policy")
    rules.close()


@pytest.mark.parametrize("policy", [PublishPolicy.DOCKER, PublishPolicy.HOST_FIREWALL])
def test_the_hosts_input_rules_are_asked_only_where_the_policy_says_so(policy):
    async def scenario(world):
        service = await world.service(publish_policy=policy, userland_proxy=False)
        lan = world.neighbour()
        _cid, web, _attached = await world.container(service, port_bindings=WEB)
        _cid, other, _attached = await world.container(service)
        web.serve_tcp(80)
        relayed = policy is PublishPolicy.HOST_FIREWALL
        client = "172.17.0.1" if relayed else "203.0.113.2"
        assert await lan.ado(ask_tcp, "203.0.113.1", 8080) == client
        forbid_from_lan()
        assert await lan.ado(refused_tcp, "203.0.113.1", 8080) is relayed
        assert await other.ado(ask_tcp, "203.0.113.1", 8080) == "172.17.0.1"
        assert await world.box_of_host().ado(ask_tcp, "127.0.0.1", 8080) == "172.17.0.1"

    in_own_world(scenario)


def test_a_relayed_datagram_is_answered_from_the_address_that_was_asked():
    async def scenario(world):
        service = await world.service(publish_policy=PublishPolicy.HOST_FIREWALL)
        lan = world.neighbour()
        with NetlinkSocket() as netlink:
            index = socket.if_nametoindex("lan0")
            addresses = ("203.0.113.7/24", "2001:db8::7/64")
            netlink.batch([rtnetlink.add_address_request(index, address) for address in addresses], "more addresses")
        _cid, box, _attached = await world.container(service, port_bindings=WEB)
        box.serve_udp(53)
        for address in ("203.0.113.1", "203.0.113.7", "2001:db8::1", "2001:db8::7"):
            assert await lan.ado(ask_udp, address, 5353) == "172.17.0.1"

    in_own_world(scenario)


def test_sctp_is_refused_where_it_would_have_to_be_relayed():
    async def scenario(world):
        service = await world.service(publish_policy=PublishPolicy.HOST_FIREWALL)
        with pytest.raises(FailedPrecondition, match="SCTP is not relayed"):
            await world.container(service, port_bindings={"80/sctp": [PortBinding(host_port="8080")]})

    in_own_world(scenario)


def test_the_loopback_policy_keeps_ports_on_the_host_unless_they_name_an_address():
    async def scenario(world):
        service = await world.service(publish_policy=PublishPolicy.LOOPBACK)
        lan = world.neighbour()
        named = [PortBinding(host_port="8080"), PortBinding(host_ip="0.0.0.0", host_port="8081")]
        _cid, web, attached = await world.container(service, port_bindings={"80/tcp": named})
        web.serve_tcp(80)
        assert [b.host_ip for b in attached.ports["80/tcp"]] == ["127.0.0.1", "::1", "0.0.0.0"]
        assert await lan.ado(refused_tcp, "203.0.113.1", 8080)
        assert await lan.ado(refused_tcp, "2001:db8::1", 8080)
        assert await lan.ado(ask_tcp, "203.0.113.1", 8081) == "203.0.113.2"
        host = world.box_of_host()
        assert await host.ado(ask_tcp, "127.0.0.1", 8080) == "172.17.0.1"
        assert await host.ado(ask_tcp, "::1", 8080) == "172.17.0.1"

    in_own_world(scenario)
