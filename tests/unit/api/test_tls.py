"""TLS on loopback: requests, and connections taken over through the relay."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from tests.unit.api.harness import Client, serving

TIMEOUT = 20
FILES = Path(__file__).parent / "tls"


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, TIMEOUT)


@pytest.fixture
async def secure(directory):
    """(server, connect) over TLS; the certificate is the tests' own, for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(FILES / "cert.pem", FILES / "key.pem")
    client_side = ssl.create_default_context(cafile=str(FILES / "cert.pem"))
    async with serving(directory) as web:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        await web.server.listen(sock, tls=context)
        port = sock.getsockname()[1]

        async def connect():
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_side, server_hostname="localhost", limit=1 << 24
            )
            web.clients.append(Client(reader, writer))
            return web.clients[-1]

        yield web, connect


async def test_requests_over_tls(secure):
    _web, connect = secure
    client = await connect()
    await client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
    assert (await soon(client.response()))[0] == 200
    assert (await soon(client.response()))[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:2376"])
async def test_a_rebound_name_is_refused(secure, host):
    _web, connect = secure
    client = await connect()
    await client.send(f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert (await soon(client.response()))[0] == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:2376", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:2376", ""])
async def test_addresses_and_localhost_are_served(secure, host):
    _web, connect = secure
    client = await connect()
    await client.send(f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert (await soon(client.response()))[0] == 200


@pytest.mark.parametrize("header", ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Origin: null"])
async def test_requests_of_other_sites_are_refused(secure, header):
    _web, connect = secure
    client = await connect()
    await client.send(f"GET /hello HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n")
    assert (await soon(client.response()))[0] == 403


async def test_a_hijacked_connection_is_relayed_in_plain_with_back_pressure(secure):
    web, connect = secure
    client = await connect()
    await client.send("POST /take HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nstdin")
    assert b"101 UPGRADED" in await soon(client.reader.readuntil(b"\r\n\r\n"))
    while web.state.taken is None:
        await asyncio.sleep(0)
    taken = web.state.taken
    with socket.socket(fileno=taken.fd) as end:
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        received = bytearray(taken.preface)
        big = bytes(range(256)) * 20_000
        sending = asyncio.ensure_future(client.send(big))
        while len(received) < 5 + len(big):
            received += await soon(loop.sock_recv(end, 1 << 20))
        await sending
        assert received == b"stdin" + big
        sending = asyncio.ensure_future(loop.sock_sendall(end, big))
        assert await soon(client.reader.readexactly(len(big))) == big
        await sending
    assert await soon(client.ended())


async def test_a_client_that_leaves_ends_the_relay(secure):
    web, connect = secure
    client = await connect()
    await client.send("POST /take HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200 OK" in await soon(client.reader.readuntil(b"\r\n\r\n"))
    while web.state.taken is None:
        await asyncio.sleep(0)
    with socket.socket(fileno=web.state.taken.fd) as end:
        end.setblocking(False)
        client.close()
        assert await soon(asyncio.get_running_loop().sock_recv(end, 10)) == b""
