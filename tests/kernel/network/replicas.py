"""Members of a service for tests: servers that say who they are, clients that count whom they got."""

import contextlib
import os
import socket
import threading
from collections import Counter

from corten.engine.networks.settings import ContainerView

PORT = 80


def _serve(writer, name, port, families):
    """Over TCP: say the name and echo what comes, until the other side closes. Over UDP: answer with the name."""
    ready = []
    for family in families:
        address = "::" if family == socket.AF_INET6 else "0.0.0.0"
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            server = socket.socket(family, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.bind((address, port))
            if kind == socket.SOCK_STREAM:
                server.listen(64)
            ready.append((server, _accept if kind == socket.SOCK_STREAM else _answer))
    threads = [threading.Thread(target=work, args=(server, name.encode())) for server, work in ready]
    for thread in threads:
        thread.start()
    os.write(writer, b"r")
    for thread in threads:
        thread.join()


def _accept(server, name):
    while True:
        client, _address = server.accept()
        threading.Thread(target=_echo, args=(client, name)).start()


def _echo(client, name):
    with client:
        client.sendall(name)
        while data := client.recv(100):
            client.sendall(data)


def _answer(server, name):
    while True:
        _data, address = server.recvfrom(2048)
        server.sendto(name, address)


def who_tcp(host, port=PORT):
    """The name of the server that a new connection gets; the error's name when there is none."""
    try:
        with socket.create_connection((host, port), 5) as client:
            return client.recv(100).decode()
    except OSError as error:
        return type(error).__name__


def who_udp(host, port=PORT):
    """The same of a new UDP socket."""
    with contextlib.ExitStack() as stack:
        return _who_udp(stack, host, port)


def _who_udp(stack, host, port):
    client = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM))
    client.settimeout(5)
    try:
        client.connect((host, port))
        client.send(b"?")
        return client.recv(100).decode()
    except OSError as error:
        return type(error).__name__


def count(host, times, port=PORT, udp=False):
    """Name -> how many of so many new connections it got.

    UDP sockets stay open until the last one has its answer: the kernel draws their ports at random, and one that it
    draws twice belongs to a flow that is known (30 sockets of 28,232 ports: once in 65 times), which is not counted.
    """
    with contextlib.ExitStack() as stack:
        return dict(Counter(_who_udp(stack, host, port) if udp else who_tcp(host, port) for _ in range(times)))


def talk(commands, host, port=PORT):
    """One connection for as long as `commands` has bytes: each is sent and must come back. Returns the server's name
    and how many came back."""
    with socket.create_connection((host, port), 5) as client:
        client.settimeout(5)
        name = client.recv(100).decode()
        echoed = 0
        while byte := os.read(commands, 1):
            client.sendall(byte)
            echoed += client.recv(1) == byte
        return [name, echoed]


def talk_udp(commands, answers, host, port=PORT):
    """One UDP socket: for each byte a question, and the answering name to `answers`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((host, port))
        while os.read(commands, 1):
            client.send(b"?")
            os.write(answers, client.recv(100).ljust(8, b" "))


class Talk:
    """`talk` in a box, led by the test."""

    def __init__(self, box, host, port=PORT):
        reader, self._writer = os.pipe()
        self._wait = box.begin(talk, reader, host, port, keep=(reader,))
        os.close(reader)

    def say(self, count=1):
        os.write(self._writer, b"x" * count)

    def end(self):
        os.close(self._writer)
        return self._wait()


class UdpTalk:
    """`talk_udp` in a box; `ask` gives the name that answers now."""

    def __init__(self, box, host, port=PORT):
        reader, self._writer = os.pipe()
        self._answers, writer = os.pipe()
        self._wait = box.begin(talk_udp, reader, writer, host, port, keep=(reader, writer))
        os.close(reader)
        os.close(writer)

    def ask(self):
        os.write(self._writer, b"x")
        return os.read(self._answers, 8).decode().strip()

    def end(self):
        os.close(self._writer)
        os.close(self._answers)
        return self._wait()


async def replica(world, service, name, *, network="net", families=(socket.AF_INET,), started=True, **request):
    """A running container that serves under its name."""
    request.setdefault("labels", {"corten.service": "web"})
    cid, box, _attached = await world.container(service, name=name, mode=network, **request)
    world.directory.views[cid] = ContainerView(id=cid, name=name, mode=network, pid=box.pid)
    reader = box._fork(_serve, name, PORT, families)
    assert os.read(reader, 1) == b"r"
    os.close(reader)
    if started:
        service.catalog._events.publish("container", "start", cid)
        await service._services.settle()
    return cid, box


async def health(service, cid, word):
    """The health check of a container has said something."""
    service.catalog._events.publish("container", f"health_status: {word}", cid)
    await service._services.settle()


async def address_of(service, name="web", version=4):
    """The address of a service."""
    found = (await service.services.inspect(name)).addresses
    return next(address for address in found if (":" in address) == (version == 6))
