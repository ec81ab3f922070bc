"""The isolation matrix: from each place, by packets, to each kind of endpoint, in both IP families.

Places: a container of the same network, one of another network, the host, a neighbour on the host's link with routes to
everything, and a host beyond that neighbour. Endpoints, of a container in a network of each kind: its own address at a
published and at an unpublished port, the published host port, and one that is published on the loopback address alone.
"""

import concurrent.futures
import socket
import time

import pytest
from tests.kernel.network.packets import bridge_filter_is
from tests.kernel.network.world import ask_tcp, in_own_world, refused_tcp

from corten.spec.docker.network import NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root

BRIDGE = "com.docker.network.bridge."
ANSWERS_WITHIN_S = 10.0
PLACES = ("same", "other", "host", "lan", "beyond")


def modes(mode):
    return {f"{BRIDGE}gateway_mode_ipv4": mode, f"{BRIDGE}gateway_mode_ipv6": mode}


NETWORKS = {
    "nat": {"options": {}},
    "no-icc": {"options": {f"{BRIDGE}enable_icc": "false"}},
    "internal": {"internal": True},
    "routed": {"options": modes("routed")},
    "unprotected": {"options": modes("nat-unprotected")},
    "isolated": {"internal": True, "options": modes("isolated")},
}

#                 network        endpoint       who reaches it
TABLE = {
    ("nat", "published"): {"same", "host"},
    ("nat", "unpublished"): {"same", "host"},
    ("nat", "host port"): {"same", "other", "host", "lan", "beyond"},
    ("nat", "loopback port"): {"host"},
    ("no-icc", "published"): {"host"},
    ("no-icc", "unpublished"): {"host"},
    ("no-icc", "host port"): {"same", "other", "host", "lan", "beyond"},
    ("no-icc", "loopback port"): {"host"},
    ("internal", "published"): {"same", "host"},
    ("internal", "unpublished"): {"same", "host"},
    ("internal", "host port"): set(),
    ("internal", "loopback port"): set(),
    ("routed", "published"): {"same", "other", "host", "lan", "beyond"},
    ("routed", "unpublished"): {"same", "host"},
    ("routed", "host port"): set(),
    ("routed", "loopback port"): set(),
    ("unprotected", "published"): {"same", "other", "host", "lan", "beyond"},
    ("unprotected", "unpublished"): {"same", "other", "host", "lan", "beyond"},
    ("unprotected", "host port"): {"same", "other", "host", "lan", "beyond"},
    ("unprotected", "loopback port"): {"host"},
    ("isolated", "published"): {"same"},
    ("isolated", "unpublished"): {"same"},
    ("isolated", "host port"): set(),
    ("isolated", "loopback port"): set(),
}


def reachable(targets, expected):
    """Which of the targets answer, all tried at once: {name: (address, port)} -> names. Those that are expected to are
    given the time that a busy machine needs."""

    def answers(name):
        if name not in expected:
            return not refused_tcp(*targets[name])
        deadline = time.monotonic() + ANSWERS_WITHIN_S
        while not (answer := ask_tcp(*targets[name])) and time.monotonic() < deadline:
            time.sleep(0.02)
        return bool(answer)

    with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
        results = list(pool.map(answers, targets))
    return [name for name, result in zip(targets, results, strict=True) if result]


def expected_at(place):
    """The names of what the table lets a place reach."""
    return [" ".join(row) for row, places in TABLE.items() if place in places]


async def build(world, service, version):
    """A server and a peer in a network of each kind: the servers' targets by row, and the peers by network."""
    targets, peers = {}, {}
    loopback, host = ("127.0.0.1", "203.0.113.1") if version == 4 else ("::1", "2001:db8::1")
    for number, (kind, options) in enumerate(NETWORKS.items()):
        await service.catalog.create(NetworkCreateRequest(name=kind, enable_ipv6=True, **options))
        own, local = 8000 + number, 9000 + number
        ports = {
            "80/tcp": [PortBinding(host_port=str(own))],
            "82/tcp": [PortBinding(host_ip=loopback, host_port=str(local))],
        }
        _cid, server, attached = await world.container(service, mode=kind, port_bindings=ports)
        for port in (80, 81, 82):
            server.serve_tcp(port, socket.AF_INET if version == 4 else socket.AF_INET6)
        _cid, peers[kind], _attached = await world.container(service, mode=kind)
        settings = attached.settings[kind]
        address = settings.ip_address if version == 4 else settings.global_ipv6_address
        targets[kind, "published"] = (address, 80)
        targets[kind, "unpublished"] = (address, 81)
        targets[kind, "host port"] = (host, own)
        targets[kind, "loopback port"] = (loopback, local)
    return targets, peers


@pytest.mark.parametrize("bridge_filter", ["0", "1"])
@pytest.mark.parametrize("version", [4, 6])
def test_each_place_reaches_what_the_table_says_and_nothing_else(version, bridge_filter):
    async def scenario(world):
        bridge_filter_is(bridge_filter)
        service = await world.service(ipv6=True)
        lan = world.neighbour()
        beyond = world.beyond(lan)
        targets, peers = await build(world, service, version)
        _cid, other, _attached = await world.container(service)
        names = {" ".join(row): target for row, target in targets.items()}
        found = {"other": other, "host": world.box_of_host(), "lan": lan, "beyond": beyond}
        reached = {place: set(await box.ado(reachable, names, expected_at(place))) for place, box in found.items()}
        reached["same"] = set()
        for kind, peer in peers.items():
            own = {name: target for name, target in names.items() if name.startswith(kind)}
            reached["same"] |= set(await peer.ado(reachable, own, expected_at("same")))
        seen = {row: {place for place in PLACES if " ".join(row) in reached[place]} for row in targets}
        assert seen == TABLE

    in_own_world(scenario)


def test_loopback_ports_are_shut_on_the_hosts_other_addresses_and_clients_keep_theirs():
    async def scenario(world):
        service = await world.service(ipv6=True)
        lan = world.neighbour()
        beyond = world.beyond(lan)
        bindings = [PortBinding(host_ip="127.0.0.1", host_port="9000"), PortBinding(host_port="8000")]
        _cid, web, _attached = await world.container(service, port_bindings={"80/tcp": bindings})
        web.serve_tcp(80)
        assert lan.do(refused_tcp, "203.0.113.1", 9000)
        assert world.box_of_host().do(refused_tcp, "203.0.113.1", 9000)
        assert beyond.do(ask_tcp, "203.0.113.1", 8000) == "198.51.100.2"

    in_own_world(scenario)


def test_an_isolated_network_has_no_address_of_the_hosts():
    async def scenario(world):
        service = await world.service()
        world.neighbour()
        await service.catalog.create(NetworkCreateRequest(name="alone", internal=True, options=modes("isolated")))
        _cid, box, attached = await world.container(service, mode="alone")
        box.serve_tcp(80)
        assert refused_tcp(attached.settings["alone"].ip_address, 80)
        assert box.do(refused_tcp, "172.18.0.1", 22)

    in_own_world(scenario)


def test_a_routed_port_shows_no_host_port_and_holds_none():
    async def scenario(world):
        service = await world.service()
        await service.catalog.create(NetworkCreateRequest(name="net", options=modes("routed")))
        ports = {"80/tcp": [PortBinding(host_port="8000")]}
        _cid, _box, one = await world.container(service, mode="net", port_bindings=ports)
        _cid, _box, two = await world.container(service, mode="net", port_bindings=ports)
        assert one.ports == two.ports == {"80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="")]}
        assert world.box_of_host().do(refused_tcp, "127.0.0.1", 8000)

    in_own_world(scenario)
