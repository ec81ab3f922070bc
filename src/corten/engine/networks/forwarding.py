"""Asks other name servers what the embedded one does not know. Daemon only, on the loop.

Each question goes out by a socket of its own, so from a random port, and under a random id; what comes back must have
both, the server's address and the same question (RFC 5452). A server that does not answer, refuses or fails is followed
by the next one. The message itself is relayed as it is, EDNS and DNSSEC included; one that was truncated too: the
client asks again over TCP, and TCP goes on as TCP.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence

from corten.errors import CortenError
from corten.network.dns import message
from corten.network.dns.upstream import Upstream

_PORT = 53
_TRY_S = 2.0
_MIN_TRIES = 2
_MAX_SERVERS = 3  # as resolv.conf(5)
_BATCH = 16  # what one message of the zygote's carries
_KEEP_S = 10.0
_IN_FLIGHT = 100
_WRONG_ANSWERS = 32

OpenSockets = Callable[[Sequence[tuple[int, int, int, str]]], Awaitable[list[socket.socket]]]


class Forwarder:
    """The way out for the questions of one container. `open_sockets` makes sockets in its network namespace."""

    def __init__(self, servers: Callable[[], Sequence[Upstream]], open_sockets: OpenSockets) -> None:
        self._servers = servers
        self._open_sockets = open_sockets
        self._stock: dict[tuple[int, int], list[socket.socket]] = {}
        self._restock = asyncio.Lock()
        self._discarding: asyncio.TimerHandle | None = None
        self._in_flight = 0
        self._closed = False

    async def ask(self, query: bytes, question: bytes, *, stream: bool) -> bytes | None:
        """An answer with the query's own id, or None: no server gave one, or too many questions are under way."""
        if self._in_flight >= _IN_FLIGHT:
            return None
        self._in_flight += 1
        try:
            return await self._ask(query, question, stream=stream)
        finally:
            self._in_flight -= 1

    async def _ask(self, query: bytes, question: bytes, *, stream: bool) -> bytes | None:
        servers = list(self._servers()[:_MAX_SERVERS])
        last = None
        for number in range(max(len(servers), _MIN_TRIES) if servers else 0):
            server = servers[number % len(servers)]
            identity = secrets.randbelow(1 << 16)
            packet = message.with_identity(query, identity)
            try:
                async with asyncio.timeout(_TRY_S):
                    sock = await self._socket(server, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
                    with sock:
                        exchange = _over_tcp if stream else _over_udp
                        answer = await exchange(sock, server.address, packet, identity, question)
            except (TimeoutError, OSError, EOFError, CortenError):
                continue
            last = message.with_identity(answer, int.from_bytes(query[:2], "big"))
            if message.rcode_of(answer) not in (message.SERVFAIL, message.REFUSED):
                break
        return last

    async def _socket(self, server: Upstream, kind: int) -> socket.socket:
        """A fresh socket of the host's namespace, or of the container's: those are made a batch at a time."""
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        if server.from_host:
            sock = socket.socket(family, kind)
            sock.setblocking(False)
            return sock
        stock = self._stock.setdefault((family, kind), [])
        if not stock:
            async with self._restock:
                if not stock:
                    stock += await self._open_sockets([(family, kind, 0, "")] * _BATCH)
                self._keep_for(_KEEP_S)
                if self._closed:
                    self.close()
                    raise EOFError
        return stock.pop()

    def _keep_for(self, seconds: float) -> None:
        """What is not needed by then is closed: a thousand containers that ask now and then hold no descriptors."""
        if self._discarding is not None:
            self._discarding.cancel()
        self._discarding = asyncio.get_running_loop().call_later(seconds, self._discard)

    def close(self) -> None:
        """The container has ended: nothing is asked any more, and no socket keeps its namespace."""
        self._closed = True
        if self._discarding is not None:
            self._discarding.cancel()
        self._discard()

    def _discard(self) -> None:
        for stock in self._stock.values():
            for sock in stock:
                sock.close()
            stock.clear()


async def _over_udp(sock: socket.socket, server: str, packet: bytes, identity: int, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    sock.connect((server, _PORT))  # from now on nobody else's datagrams are received
    sock.send(packet)
    # bounded: a read does not yield while there is more, and whoever floods the socket would have the loop to himself
    for _ in range(_WRONG_ANSWERS):
        data = await loop.sock_recv(sock, message.MAX_TCP_BYTES)
        if message.is_answer(data, identity, question):
            return data
    raise EOFError


async def _over_tcp(sock: socket.socket, server: str, packet: bytes, identity: int, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, (server, _PORT))
    await loop.sock_sendall(sock, len(packet).to_bytes(2, "big") + packet)
    received = bytearray()
    while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
        data = await loop.sock_recv(sock, message.MAX_TCP_BYTES)
        if not data:
            raise EOFError
        received += data
    answer = bytes(received[2 : 2 + int.from_bytes(received[:2], "big")])
    if not message.is_answer(answer, identity, question):
        raise EOFError
    return answer
