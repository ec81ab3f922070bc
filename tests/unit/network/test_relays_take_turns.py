"""A relayed stream does not have the daemon's loop to itself."""

import asyncio
import contextlib
import ipaddress
import socket

from corten.network.relay import Relay, always

CHUNK = 64 * 1024
LOOPBACK = ipaddress.ip_address("127.0.0.1")


async def test_one_chunk_of_a_stream_that_waits_is_relayed_in_each_turn():
    with (
        socket.create_server(("127.0.0.1", 0)) as held,
        socket.create_server(("127.0.0.1", 0)) as target,
        socket.create_connection(held.getsockname()) as client,
    ):
        for sock in (held, target, client):
            sock.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += client.send(bytes(CHUNK))
        assert sent > 8 * CHUNK
        client.shutdown(socket.SHUT_WR)
        relay = Relay(held, always(LOOPBACK, target.getsockname()[1]))
        server = None
        received = []
        while server is None or sum(received) < sent:
            await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                if server is None:
                    server, _address = target.accept()
                    server.setblocking(False)
                received.append(len(server.recv(64 * CHUNK)))
        server.close()
        relay.close()
        assert max(received) <= 2 * CHUNK
