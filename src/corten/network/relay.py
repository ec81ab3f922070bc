"""Relay of what reaches a held port's own socket to the container. Async, on the daemon's loop.

The kernel translates nearly all traffic (`network.ruleset`). What it cannot: connections to ::1, and to [::] for a
container without an IPv6 address; and all from outside that must pass the host's input rules first (publish.policy
host-firewall), which only a local socket's packets do. They end when the daemon ends. Bounded: connections a port,
datagram clients a port.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Any

from corten.network.ipam import IPAddress
from corten.network.listener import Listener

_MAX_CONNECTIONS = 4096
_MAX_CLIENTS = 256
_CHUNK = 64 * 1024
_CONNECT_TIMEOUT_S = 10.0
_DATAGRAM = 65535
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50  # ip(7), ipv6(7)
_ANCILLARY_BYTES = 128


_Asked = tuple[tuple[int, int, bytes], ...]  # control messages, as sendmsg takes them
_Client = tuple[Any, _Asked]
Chooser = Callable[[str], tuple[IPAddress, int] | None]
"""From a client's address where its connection or datagrams go; None: nowhere."""


def always(target: IPAddress, port: int) -> Chooser:
    """Everybody goes to this one."""
    return lambda _client: (target, port)


class Relay:
    """Serves one held socket until closed. The socket stays its holder's."""

    def __init__(self, held: socket.socket, choose: Chooser) -> None:
        self._held = held
        self._choose = choose
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: OrderedDict[_Client, socket.socket] = OrderedDict()
        if (
            held.type != socket.SOCK_STREAM
        ):  # an answer leaves from the address that was asked, of all that the host has
            if held.family == socket.AF_INET:
                held.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                held.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        self._listener = Listener(held, self._accepted) if held.type == socket.SOCK_STREAM else None
        if self._listener is not None:
            self._listener.open()
        else:
            self._loop.add_reader(held.fileno(), self._datagram)

    def close(self) -> None:
        """Stop serving and cut what is relayed."""
        if self._listener is not None:
            self._listener.close()
        else:
            self._loop.remove_reader(self._held.fileno())
        for task in self._tasks:
            task.cancel()
        while self._clients:
            self._forget(next(iter(self._clients)))

    def keep_only(self, targets: Collection[IPAddress]) -> None:
        """Datagrams of clients that went to others begin anew; connections stay."""
        for key, client in list(self._clients.items()):
            if ipaddress.ip_address(client.getpeername()[0]) not in targets:
                self._forget(key)

    def _accepted(self, client: socket.socket) -> None:
        target = self._target_of(client) if len(self._tasks) < _MAX_CONNECTIONS else None
        if target is None:
            client.close()
            return
        task = self._loop.create_task(self._connection(client, target))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _target_of(self, client: socket.socket) -> tuple[IPAddress, int] | None:
        try:
            return self._choose(client.getpeername()[0])
        except OSError:  # it is gone again
            return None

    async def _connection(self, client: socket.socket, target: tuple[IPAddress, int]) -> None:
        family = socket.AF_INET if target[0].version == 4 else socket.AF_INET6
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with client, contextlib.suppress(OSError, TimeoutError), socket.socket(family, kind) as server:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._loop.sock_connect(server, (str(target[0]), target[1]))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(client, server))
                group.create_task(self._copy(server, client))

    async def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        """One direction; its end is passed on as a half-close, as TCP has it."""
        try:
            while data := await self._loop.sock_recv(source, _CHUNK):
                await self._loop.sock_sendall(sink, data)
                await asyncio.sleep(0)  # neither call yields while both ends keep up: others have their turn
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _datagram(self) -> None:
        try:
            data, ancillary, _flags, address = self._held.recvmsg(_DATAGRAM, _ANCILLARY_BYTES)
            key = (address, _asked_address(ancillary))
            client = self._clients.get(key)
            if client is None:
                client = self._connect(key)
            else:
                self._clients.move_to_end(key)
            client.send(data)
        except OSError:  # datagrams may be lost: nobody listens there, or the buffer is full
            return

    def _connect(self, key: _Client) -> socket.socket:
        if len(self._clients) >= _MAX_CLIENTS:
            self._forget(next(iter(self._clients)))
        target = self._choose(key[0][0])
        if target is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody serves this port")
        family = socket.AF_INET if target[0].version == 4 else socket.AF_INET6
        client = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            client.connect((str(target[0]), target[1]))
        except OSError:
            client.close()
            raise
        self._clients[key] = client
        self._loop.add_reader(client.fileno(), self._answer, client, key)
        return client

    def _answer(self, client: socket.socket, key: _Client) -> None:
        address, asked = key
        try:
            self._held.sendmsg([client.recv(_DATAGRAM)], asked, 0, address)
        except BlockingIOError:
            return
        except OSError:
            self._forget(key)

    def _forget(self, key: _Client) -> None:
        client = self._clients.pop(key)
        self._loop.remove_reader(client.fileno())
        client.close()


def _asked_address(ancillary: list[tuple[int, int, bytes]]) -> _Asked:
    """From what a datagram came with, what its answer is sent with: the local address as its source."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):  # struct in_pktinfo
            _index, _local, asked = struct.unpack("=I4s4s", data[:12])
            return ((level, kind, struct.pack("=I4s4s", 0, asked, bytes(4))),)
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO):  # struct in6_pktinfo
            return ((level, kind, data[:20]),)
    return ()
