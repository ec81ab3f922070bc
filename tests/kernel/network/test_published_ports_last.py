"""Published ports in number, and connections through them that go on whatever the daemon does."""

import asyncio
import os
import select
import socket
import struct

import pytest
from tests.kernel.network.packets import table_contents
from tests.kernel.network.world import REFUSED_AFTER_S, ask_tcp, in_own_world, refused_tcp

from corten.errors import ResourceExhausted
from corten.spec.docker.network import NetworkCreateRequest, PortBinding

pytestmark = pytest.mark.root

TABLE = "corten-00test"
WEB = {"80/tcp": [PortBinding(host_port="8080")]}
THOUSAND = {f"{port}/tcp": [PortBinding(host_port=str(port))] for port in range(20000, 21000)}
_TOTAL_RETRANSMITS = 100  # offset in struct tcp_info


def echo_server(port, ready):
    with socket.create_server(("0.0.0.0", port)) as server:
        os.write(ready, b"r")
        client, _address = server.accept()
        with client:
            while data := client.recv(64):
                client.sendall(data)


def talk(host, port, stop):
    """Numbered messages and their echoes, one after the other, until `stop` is readable: how many, and how many
    segments TCP had to send again."""
    with socket.create_connection((host, port), 10) as client:
        client.settimeout(10)
        number = 0
        while not select.select([stop], [], [], 0)[0]:
            client.sendall(struct.pack("!Q", number))
            assert client.recv(8, socket.MSG_WAITALL) == struct.pack("!Q", number)
            number += 1
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return [number, struct.unpack_from("=I", info, _TOTAL_RETRANSMITS)[0]]


def test_an_established_connection_loses_no_packet_while_the_daemon_is_killed_and_comes_back():
    async def scenario(world):
        first = await world.service()
        lan = world.neighbour()
        cid, web, _attached = await world.container(first, port_bindings=WEB)
        ready, tell = os.pipe()
        web.begin(echo_server, 80, tell, keep=(tell,))
        assert os.read(ready, 1) == b"r"
        stop, end = os.pipe()
        result = lan.begin(talk, "203.0.113.1", 8080, stop, keep=(stop,))
        for _ in range(3):
            await asyncio.sleep(0.1)
            world.kill(first)
            await asyncio.sleep(0.1)
            first = await world.service({cid: web.pid})
            await first.catalog.create(NetworkCreateRequest(name=f"net{len(world.services)}"))
            await world.container(first, port_bindings={"80/tcp": [PortBinding(host_port="0")]})
        await asyncio.sleep(0.1)
        os.write(end, b"x")
        number, retransmits = await asyncio.to_thread(result)
        assert number > 100
        assert retransmits == 0

    in_own_world(scenario)


def test_a_thousand_ports_are_published_and_go_without_trace():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        before = table_contents(TABLE)
        cid, web, attached = await world.container(service, port_bindings=THOUSAND)
        assert len(attached.ports) == 1000
        for port in (20000, 20500, 20999):
            web.serve_tcp(port)
            assert lan.do(ask_tcp, "203.0.113.1", port) == "203.0.113.2"
        with pytest.raises(ResourceExhausted, match="port is already allocated"):
            overlapping = {"80/tcp": [PortBinding(host_port="19999"), PortBinding(host_port="20500")]}
            await world.container(service, port_bindings=overlapping)
        socket.create_server(("0.0.0.0", 19999)).close()
        await service.release(cid)
        assert table_contents(TABLE) == before
        assert lan.do(refused_tcp, "203.0.113.1", 20500)
        for port in THOUSAND:
            socket.create_server(("0.0.0.0", int(port.removesuffix("/tcp")))).close()

    in_own_world(scenario)


def test_a_range_takes_the_first_port_that_is_free_and_random_ports_differ():
    async def scenario(world):
        service = await world.service()
        any_of_three = {"80/tcp": [PortBinding(host_port="9000-9002")]}
        found = [await world.container(service, port_bindings=any_of_three) for _ in range(3)]
        assert [attached.ports["80/tcp"][0].host_port for _cid, _box, attached in found] == ["9000", "9001", "9002"]
        with pytest.raises(ResourceExhausted, match="all ports are allocated"):
            await world.container(service, port_bindings=any_of_three)
        random = {"80/tcp": [PortBinding(), PortBinding()], "80/udp": [PortBinding()]}
        _cid, _box, attached = await world.container(service, port_bindings=random)
        tcp = {binding.host_port for binding in attached.ports["80/tcp"]}
        assert len(tcp) == 2
        assert all(int(port) > 1023 for port in tcp)

    in_own_world(scenario)


def ask_twice(host, port, source_port, meanwhile, go):
    """The same UDP socket, which is one flow for the kernel: asked before and after something happened."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("0.0.0.0", source_port))
        answers = []
        for wait in (False, True):
            if wait:
                os.write(meanwhile, b"x")
                assert os.read(go, 1) == b"x"
            client.settimeout(10 if wait else REFUSED_AFTER_S)
            client.sendto(b"?", (host, port))
            try:
                answers.append(client.recv(100).decode() or "empty")
            except OSError:
                answers.append("")
        return answers


@pytest.mark.parametrize("published_before", [False, True])
def test_a_udp_client_that_keeps_its_socket_reaches_the_container_of_now(published_before):
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        ports = {"53/udp": [PortBinding(host_port="5353")]}
        if published_before:
            cid, old, _attached = await world.container(service, port_bindings=ports)
            old.serve_udp(53)
        (asked, tell), (wait, go) = os.pipe(), os.pipe()
        result = lan.begin(ask_twice, "203.0.113.1", 5353, 4000, tell, wait, keep=(tell, wait))
        assert os.read(asked, 1) == b"x"
        if published_before:
            await service.release(cid)
        _cid, new, attached = await world.container(service, port_bindings=ports)
        if published_before:
            assert attached.settings["bridge"].ip_address == "172.17.0.3"
            old.end()
        new.serve_udp(53)
        os.write(go, b"x")
        assert await asyncio.to_thread(result) == ["203.0.113.2" if published_before else "", "203.0.113.2"]

    in_own_world(scenario)


def crc32c(data):
    """The checksum of SCTP (RFC 9260, appendix A), without which the kernel does not track a packet."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def send_sctp_init(host, port):
    """The first packet of an SCTP association, made by hand: not every kernel has such sockets."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65536, 1, 1, 1)
    head = struct.pack("!HHI", 4444, port, 0)
    checksum = struct.pack("<I", crc32c(head + bytes(4) + chunk))
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 132) as raw:
        raw.sendto(head + checksum + chunk, (host, 0))


def receive_sctp(ready):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 132) as raw:
        raw.settimeout(10)
        os.write(ready, b"r")
        data = raw.recv(2048)
        return [socket.inet_ntoa(data[12:16]), struct.unpack_from("!H", data, 22)[0]]


def test_an_sctp_port_is_translated_and_keeps_the_clients_address():
    async def scenario(world):
        service = await world.service()
        lan = world.neighbour()
        _cid, box, _attached = await world.container(
            service, port_bindings={"80/sctp": [PortBinding(host_port="8080")]}
        )
        ready, tell = os.pipe()
        result = box.begin(receive_sctp, tell, keep=(tell,))
        assert os.read(ready, 1) == b"r"
        lan.do(send_sctp_init, "203.0.113.1", 8080)
        assert result() == ["203.0.113.2", 80]
        with pytest.raises(ResourceExhausted, match="port is already allocated"):
            await world.container(service, port_bindings={"81/sctp": [PortBinding(host_port="8080")]})

    in_own_world(scenario)
