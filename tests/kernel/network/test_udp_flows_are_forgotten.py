"""Which of the UDP flows that the kernel tracks are forgotten when a port is published: those to the host's port alone."""

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kernel.network.world import ask_udp, in_own_world

from corten.linux.netlink import NETLINK_NETFILTER, NLM_F_DUMP, NetlinkSocket, attributes, message
from corten.network.conntrack import is_wanted
from corten.spec.docker.network import PortBinding

PORT = 5353


def flows():
    """(destination, id) of the tracked IPv4 flows to the port."""
    found = set()
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        request = message(1 << 8 | 1, NLM_F_DUMP, struct.pack("!BBH", socket.AF_INET, 0, 0))
        for reply in netlink.dump(request, "list flows"):
            fields = attributes(reply.payload, 4)
            told = attributes(fields[1])
            if attributes(told[2]).get(3) == struct.pack("!H", PORT):
                found.add((str(ipaddress.ip_address(attributes(told[1])[2])), fields[12]))
    return found


@pytest.mark.root
def test_flows_of_other_containers_to_the_same_port_elsewhere_survive():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        lan.serve_udp(PORT)
        _cid, client, _attached = await world.container(service)
        assert client.do(ask_udp, "203.0.113.2", PORT) == "203.0.113.1"
        lan.do(ask_udp, "203.0.113.1", PORT, 0.1)
        before = flows()
        assert {address for address, _id in before} == {"203.0.113.1", "203.0.113.2"}

        _cid, server, _attached = await world.container(
            service, port_bindings={f"{PORT}/udp": [PortBinding(host_port=str(PORT))]}
        )
        assert flows() == {(address, number) for address, number in before if address == "203.0.113.2"}
        server.serve_udp(PORT)
        assert lan.do(ask_udp, "203.0.113.1", PORT) == "203.0.113.2"

    in_own_world(scenario)


ANY4, ANY6 = ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("::")


@given(st.ip_addresses(), st.ip_addresses())
def test_an_address_is_wanted_that_was_asked_for_or_is_the_hosts(address, other):
    assert is_wanted(address, {address}, ())
    assert is_wanted(address, {ANY4, ANY6}, {address})
    assert is_wanted(ipaddress.ip_address("127.1.2.3"), {ANY4}, ())
    if address != other and not other.is_unspecified:
        assert not is_wanted(address, {other}, {address})
    if not address.is_loopback and not address.is_unspecified:
        assert not is_wanted(address, {ANY4, ANY6}, {other} - {address})
