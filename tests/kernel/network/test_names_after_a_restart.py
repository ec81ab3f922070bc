"""A client of the embedded DNS server that keeps its port meets the server of the next daemon."""

import socket

import pytest
from tests.kernel.network.asking import A, parse, query
from tests.kernel.network.world import in_own_world

from corten.spec.docker.network import NetworkCreateRequest

pytestmark = pytest.mark.root


def ask_from(port, name):
    """What is answered to a question from this very port; the error's name when nobody is there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", port))
        client.settimeout(5)
        client.connect(("127.0.0.11", 53))
        try:
            client.send(query(name, A))
            return parse(client.recv(4096))[3]
        except OSError as error:
            return type(error).__name__


def test_a_port_that_was_asked_from_before_leads_to_the_new_server():
    async def scenario(world):
        first = await world.service()
        await first.catalog.create(NetworkCreateRequest(name="net"))
        cid, box, attached = await world.container(first, mode="net", name="one")
        address = [attached.settings["net"].ip_address]
        assert await box.ado(ask_from, 5555, "one") == address
        first._resolvers.close_all()
        world.kill(first)
        second = await world.service({cid: box.pid})
        await second._resolvers.settled()
        assert await box.ado(ask_from, 5555, "one") == address

    in_own_world(scenario)
