"""The embedded DNS server of one container: its sockets at 127.0.0.11, served by the daemon's loop. Daemon only.

What is answered is decided by `network.dns`, what nobody here knows goes to `forwarding`. Answers out of memory are
sent at once; several datagrams are served for one wake-up, and no container has the loop to itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Coroutine

from corten.engine.networks.forwarding import Forwarder
from corten.network.dns import message
from corten.network.dns.answers import answer
from corten.network.dns.directory import NameDirectory
from corten.network.dns.message import Malformed, Query

_LOG = logging.getLogger("corten.dns")
_DATAGRAMS_A_WAKE = 32
_MAX_CONNECTIONS = 32
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 512 * 1024  # some thousand queries at once, where the system's default is lost after 270
_IDLE_S = 10.0


class Resolver:
    """Serves from `open` to `close`. The sockets are owned; `udp` is bound, `tcp` listens, both do not block."""

    def __init__(
        self, cid: str, names: NameDirectory, forwarder: Forwarder, *, udp: socket.socket, tcp: socket.socket
    ) -> None:
        self._cid = cid
        self._names = names
        self._forwarder = forwarder
        self._udp = udp
        self._tcp = tcp
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Begin to serve. Raises OSError."""
        self._udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._loop.add_reader(self._udp.fileno(), self._datagrams)
        self._loop.add_reader(self._tcp.fileno(), self._connection)

    def close(self) -> None:
        """End: every socket is closed, so that nothing keeps the container's network namespace."""
        for sock in (self._udp, self._tcp):
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock.fileno())
                sock.close()
        for task in self._tasks:
            task.cancel()
        self._forwarder.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a question of container %s failed", self._cid, exc_info=task.exception())

    # -- UDP

    def _datagrams(self) -> None:
        for _ in range(_DATAGRAMS_A_WAKE):
            try:
                data, peer = self._udp.recvfrom(message.MAX_UDP_BYTES)
            except OSError:  # nothing more for now
                return
            query = self._parse(data)
            if isinstance(query, bytes):
                self._send(query, peer)
            elif query is not None:
                known = answer(query, self._cid, self._names, limit=query.udp_bytes)
                if known is not None:
                    self._send(known, peer)
                else:
                    self._spawn(self._relay(data, query, peer))

    @staticmethod
    def _parse(data: bytes) -> Query | bytes | None:
        """A query; the answer to one that is malformed; None for what gets no answer."""
        try:
            return message.parse_query(data)
        except Malformed as error:
            return message.format_error(error.identity) if error.identity >= 0 else None

    async def _relay(self, data: bytes, query: Query, peer: tuple[str, int]) -> None:
        self._send(await self._forwarded(data, query, stream=False), peer)

    async def _forwarded(self, data: bytes, query: Query, *, stream: bool) -> bytes:
        found = await self._forwarder.ask(data, query.question, stream=stream)
        if found is None:
            return message.respond(query, message.SERVFAIL, limit=query.udp_bytes)
        return found

    def _send(self, data: bytes, peer: tuple[str, int]) -> None:
        if self._udp.fileno() < 0:
            return
        try:
            self._udp.sendto(data, peer)
        except OSError as error:  # its buffer is full, or it has gone: as if the datagram were lost
            _LOG.debug("an answer to container %s is lost: %s", self._cid, error)

    # -- TCP: RFC 7766

    def _connection(self) -> None:
        try:
            client, _peer = self._tcp.accept()
        except OSError:
            return
        if self._connections >= _MAX_CONNECTIONS:
            client.close()
            return
        client.setblocking(False)
        self._connections += 1
        self._spawn(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                received = bytearray()
                while (data := await self._message(client, received)) is not None:
                    reply = await self._answer_stream(data)
                    if reply is None:
                        return
                    async with asyncio.timeout(_IDLE_S):
                        await self._loop.sock_sendall(client, len(reply).to_bytes(2, "big") + reply)
        except OSError as error:  # also TimeoutError
            _LOG.debug("a connection of container %s ended: %s", self._cid, error)
        finally:
            self._connections -= 1

    async def _message(self, client: socket.socket, received: bytearray) -> bytes | None:
        """The next message of a connection; None at its end."""
        async with asyncio.timeout(_IDLE_S):
            while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
                data = await self._loop.sock_recv(client, message.MAX_TCP_BYTES)
                if not data:
                    return None
                received += data
        end = 2 + int.from_bytes(received[:2], "big")
        found = bytes(received[2:end])
        del received[:end]
        return found

    async def _answer_stream(self, data: bytes) -> bytes | None:
        query = self._parse(data)
        if query is None or isinstance(query, bytes):
            return query
        known = answer(query, self._cid, self._names, limit=message.MAX_TCP_BYTES)
        return known if known is not None else await self._forwarded(data, query, stream=True)
