"""The embedded DNS server of one container: its sockets at 127.0.0.11, served by the daemon's loop. Daemon only.

What is answered is decided by `network.dns`, what nobody here knows goes to `forwarding`. Answers out of memory are
sent at once, without a task; several datagrams and connections are served for one wake-up, and no container has the
loop to itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket

from corten.engine.networks.dns_stream import DnsStream
from corten.engine.networks.egress_names import NameGate
from corten.engine.networks.forwarding import Forwarder
from corten.network.dns import message
from corten.network.dns.answers import answer
from corten.network.dns.directory import NameDirectory
from corten.network.dns.message import Malformed, Query
from corten.network.listener import Listener

_LOG = logging.getLogger("corten.dns")
_DATAGRAMS_A_WAKE = 32
_CONNECTIONS_A_WAKE = 8
_MAX_CONNECTIONS = 64
_IDLE_S = 10.0
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 512 * 1024  # some thousand queries at once, where the system's default is lost after 270
_DEFER_S = 5  # a connection is shown when its first query is there, or after this


class Resolver:
    """Serves from `open` to `close`. The sockets are owned; `udp` is bound, `tcp` listens, both do not block."""

    def __init__(
        self,
        cid: str,
        names: NameDirectory,
        forwarder: Forwarder,
        *,
        gate: NameGate,
        udp: socket.socket,
        tcp: socket.socket,
    ) -> None:
        self._cid = cid
        self._names = names
        self._forwarder = forwarder
        self._gate = gate
        self._udp = udp
        self._tcp = tcp
        self._listener = Listener(tcp, self._connected, at_once=_CONNECTIONS_A_WAKE)
        self._streams: set[DnsStream] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Begin to serve. Raises OSError."""
        self._udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_S)
        self._loop.add_reader(self._udp.fileno(), self._datagrams)
        self._listener.open()

    def close(self) -> None:
        """End: every socket is closed, so that nothing keeps the container's network namespace."""
        self._listener.close()
        self._tcp.close()
        if self._udp.fileno() >= 0:
            self._loop.remove_reader(self._udp.fileno())
            self._udp.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for stream in list(self._streams):
            stream.close()
        for task in self._tasks:
            task.cancel()
        self._forwarder.close()

    def _decide(self, data: bytes, *, stream: bool) -> bytes | Query | None:
        """The answer; the query that is to be forwarded; or None: this gets no answer."""
        try:
            query = message.parse_query(data)
        except Malformed as error:
            return message.format_error(error.identity) if error.identity >= 0 else None
        limit = message.MAX_TCP_BYTES if stream else query.udp_bytes
        found = answer(query, self._cid, self._names, limit=limit)
        return found or self._gate.refusal(query, limit=limit) or query

    def _forward(self, data: bytes, query: Query, *, stream: bool) -> asyncio.Task[bytes]:
        task = self._loop.create_task(self._forwarded(data, query, stream=stream))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def _forwarded(self, data: bytes, query: Query, *, stream: bool) -> bytes:
        found = await self._forwarder.ask(self._gate.outgoing(query, data), query.question, stream=stream)
        if found is None:
            return message.respond(query, message.SERVFAIL, limit=query.udp_bytes)
        return self._gate.incoming(query, found, limit=message.MAX_TCP_BYTES if stream else query.udp_bytes)

    def _done(self, task: asyncio.Task[bytes]) -> None:
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
            found = self._decide(data, stream=False)
            if isinstance(found, bytes):
                self._send(found, peer)
            elif found is not None:
                task = self._forward(data, found, stream=False)
                task.add_done_callback(lambda done, peer=peer: self._relay(done, peer))  # type: ignore[misc]

    def _relay(self, done: asyncio.Task[bytes], peer: tuple[str, int]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._send(done.result(), peer)

    def _send(self, data: bytes, peer: tuple[str, int]) -> None:
        if self._udp.fileno() < 0:
            return
        try:
            self._udp.sendto(data, peer)
        except OSError as error:  # its buffer is full, or it has gone: as if the datagram were lost
            _LOG.debug("an answer to container %s is lost: %s", self._cid, error)

    # -- TCP

    def _connected(self, client: socket.socket) -> None:
        if len(self._streams) >= _MAX_CONNECTIONS:
            client.close()
            return
        stream = DnsStream(client, self._answer_stream, self._streams.discard)
        self._streams.add(stream)
        stream.open()
        if self._streams and self._sweeping is None:
            self._sweeping = self._loop.call_later(_IDLE_S / 2, self._sweep)

    def _answer_stream(self, data: bytes) -> bytes | asyncio.Future[bytes] | None:
        found = self._decide(data, stream=True)
        return self._forward(data, found, stream=True) if isinstance(found, Query) else found

    def _sweep(self) -> None:
        """Close the connections that nothing came over for a while."""
        self._sweeping = None
        for stream in [s for s in self._streams if self._loop.time() - s.last_used_s > _IDLE_S]:
            stream.close()
        if self._streams:
            self._sweeping = self._loop.call_later(_IDLE_S / 2, self._sweep)
