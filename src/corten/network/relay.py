"""Relay of what reaches a held port's own socket to the container. Async, on the daemon's loop.

The kernel translates nearly all traffic (`network.ruleset`). What it cannot: connections to ::1, and to [::] for a
container without an IPv6 address. They end when the daemon ends. Bounded: connections a port, datagram clients a port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import OrderedDict
from typing import Any

from corten.network.ipam import IPAddress

_MAX_CONNECTIONS = 512
_MAX_CLIENTS = 256
_CHUNK = 64 * 1024
_CONNECT_TIMEOUT_S = 10.0
_DATAGRAM = 65535


class Relay:
    """Serves one held socket until closed. The socket stays its holder's."""

    def __init__(self, held: socket.socket, target: IPAddress, port: int) -> None:
        self._held = held
        self._target = (str(target), port)
        self._family = socket.AF_INET if target.version == 4 else socket.AF_INET6
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: OrderedDict[Any, socket.socket] = OrderedDict()
        self._stream = held.type == socket.SOCK_STREAM
        self._loop.add_reader(held.fileno(), self._accept if self._stream else self._datagram)

    def close(self) -> None:
        """Stop serving and cut what is relayed."""
        self._loop.remove_reader(self._held.fileno())
        for task in self._tasks:
            task.cancel()
        while self._clients:
            self._forget(next(iter(self._clients)))

    def _accept(self) -> None:
        try:
            client, _address = self._held.accept()
        except OSError:  # the client is gone again, or descriptors are short: the next event tries anew
            return
        if len(self._tasks) >= _MAX_CONNECTIONS:
            client.close()
            return
        client.setblocking(False)
        task = self._loop.create_task(self._connection(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, client: socket.socket) -> None:
        server = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        with client, server, contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._loop.sock_connect(server, self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(client, server))
                group.create_task(self._copy(server, client))

    async def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        """One direction; its end is passed on as a half-close, as TCP has it."""
        try:
            while data := await self._loop.sock_recv(source, _CHUNK):
                await self._loop.sock_sendall(sink, data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _datagram(self) -> None:
        try:
            data, address = self._held.recvfrom(_DATAGRAM)
            client = self._clients.get(address)
            if client is None:
                client = self._connect(address)
            else:
                self._clients.move_to_end(address)
            client.send(data)
        except OSError:  # datagrams may be lost: nobody listens there, or the buffer is full
            return

    def _connect(self, address: Any) -> socket.socket:
        if len(self._clients) >= _MAX_CLIENTS:
            self._forget(next(iter(self._clients)))
        client = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            client.connect(self._target)
        except OSError:
            client.close()
            raise
        self._clients[address] = client
        self._loop.add_reader(client.fileno(), self._answer, client, address)
        return client

    def _answer(self, client: socket.socket, address: Any) -> None:
        try:
            self._held.sendto(client.recv(_DATAGRAM), address)
        except BlockingIOError:
            return
        except OSError:
            self._forget(address)

    def _forget(self, address: Any) -> None:
        client = self._clients.pop(address)
        self._loop.remove_reader(client.fileno())
        client.close()
