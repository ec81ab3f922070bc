"""HTTP as clients of Docker use it, over a real unix socket."""

import asyncio
import json
import os
import socket

import pytest
from tests.unit.api.harness import serving

TIMEOUT = 10


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, TIMEOUT)


async def test_a_reply_carries_dockers_headers_and_ends_json_with_a_newline(web):
    client = await web.connect()
    status, headers, body = await soon(client.get("/v1.41/hello?name=x"))
    assert status == 200
    assert json.loads(body) == {"hello": "x", "version": [1, 41]}
    assert body.endswith(b"\n")
    assert headers["api-version"] == "1.50"
    assert headers["ostype"] == "linux"
    assert headers["docker-experimental"] == "false"
    assert headers["server"].startswith("Docker/")
    assert headers["content-type"] == "application/json"


async def test_unversioned_paths_get_the_newest_version(web):
    client = await web.connect()
    assert json.loads((await soon(client.get("/hello")))[2])["version"] == [1, 50]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/v1.99/hello", "client version 1.99 is too new. Maximum supported API version is 1.50"),
        ("/v1.20/hello", "client version 1.20 is too old. Minimum supported API version is 1.24"),
        ("/v1/hello", "invalid API version"),
        ("/v1.2.3/hello", "invalid API version"),
    ],
)
async def test_versions_out_of_range_are_refused_in_dockers_words(web, path, text):
    status, _headers, body = await soon((await web.connect()).get(path))
    assert status == 400
    assert json.loads(body)["message"].startswith(text)


async def test_an_endpoint_is_unknown_before_its_version(web):
    client = await web.connect()
    assert (await soon(client.get("/v1.44/newer")))[0] == 404
    assert (await soon(client.get("/v1.45/newer")))[0] == 200


async def test_unknown_routes_and_methods_answer_page_not_found_without_version(web):
    client = await web.connect()
    for request in ("GET /nope", "GET /v1.45/nope", "DELETE /hello", "GET /hello/"):
        await client.send(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = await soon(client.response())
        assert (status, body) == (404, b'{"message":"page not found"}\n')
        assert "api-version" not in headers


async def test_errors_are_mapped_by_kind(web):
    client = await web.connect()
    expected = {
        "conflict": (409, "it is in use"),
        "missing": (404, "No such thing: x"),
        "bug": (500, "a bug"),
        "kernel": (500, "[Errno 1] Operation not permitted"),
    }
    for kind, (status, text) in expected.items():
        got, headers, body = await soon(client.get(f"/fail/{kind}"))
        assert (got, json.loads(body)["message"]) == (status, text)
        assert headers["content-type"] == "application/json"
    assert (await soon(client.get("/fail/same")))[0] == 304


async def test_a_body_free_status_has_no_length(web):
    client = await web.connect()
    await client.send("POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    status, headers, _body = await soon(client.response())
    assert status == 204
    assert "content-length" not in headers
    assert (await soon(client.get("/fail/same")))[1].get("content-length") is None


async def test_head_has_the_length_and_no_body(web):
    client = await web.connect()
    await client.send("HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    head = (await soon(client.reader.readuntil(b"\r\n\r\n"))).decode()
    assert "Content-Length: 35" in head
    assert (await soon(client.response()))[0] == 200


async def test_pipelined_requests_are_answered_in_order(web):
    client = await web.connect()
    await client.send("".join(f"GET /hello?name={n} HTTP/1.1\r\nHost: x\r\n\r\n" for n in range(50)))
    for number in range(50):
        assert json.loads((await soon(client.response()))[2])["hello"] == str(number)


async def test_a_request_may_come_byte_by_byte(web):
    client = await web.connect()
    for byte in b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await soon(client.response()))[2] == b"abc"


async def test_bodies_by_length_and_by_chunks_with_extensions_and_trailers(web):
    client = await web.connect()
    await client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    assert (await soon(client.response()))[2] == b"hello"
    await client.send(
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5;name=value\r\nhello\r\nA\r\n, world...\r\n0\r\nX-Trailer: y\r\n\r\n"
        "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert (await soon(client.response()))[2] == b"hello, world..."
    assert (await soon(client.response()))[0] == 200


async def test_expect_100_continue_is_answered_before_the_body_is_sent(web):
    client = await web.connect()
    await client.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert await soon(client.reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send("abc")
    assert (await soon(client.response()))[2] == b"abc"


async def test_expect_100_continue_is_refused_by_the_answer_when_nobody_reads(web):
    client = await web.connect()
    await client.send("POST /ignore HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    status, headers, _body = await soon(client.response())
    assert (status, headers["connection"]) == (204, "close")


async def test_an_unread_body_does_not_become_the_next_request(web):
    client = await web.connect()
    smuggled = "GET /hello?name=smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    await client.send(f"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(smuggled)}\r\n\r\n{smuggled}")
    assert (await soon(client.response()))[0] == 204
    status, _headers, body = await soon(client.get("/hello?name=honest"))
    assert (status, json.loads(body)["hello"]) == (200, "honest")


async def test_streams_are_chunked_and_the_connection_goes_on(web):
    client = await web.connect()
    status, headers, body = await soon(client.get("/stream"))
    assert (status, headers["transfer-encoding"], body) == (200, "chunked", b"0\n1\n2\n")
    assert (await soon(client.get("/hello")))[0] == 200


async def test_a_streams_head_is_sent_before_its_first_piece(web):
    client = await web.connect()
    await client.send("GET /stream?wait=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in await soon(client.reader.readuntil(b"\r\n\r\n"))
    assert web.state.produced == 0
    web.state.release.set()


async def test_http_1_0_gets_an_unchunked_stream_and_a_close(web):
    client = await web.connect()
    await client.send("GET /stream HTTP/1.0\r\n\r\n")
    data = await soon(client.reader.read())
    assert data.endswith(b"\r\n\r\n0\n1\n2\n")
    assert b"Transfer-Encoding" not in data


async def test_a_stream_that_breaks_is_not_ended_properly(web):
    client = await web.connect()
    await client.send("GET /stream?fail=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    data = await soon(client.reader.read())
    assert b"2\n" in data
    assert not data.endswith(b"0\r\n\r\n")


async def test_a_client_that_leaves_cancels_its_handler(web):
    client = await web.connect()
    await client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    await soon(web.state.started.wait())
    client.close()
    await soon(web.state.cancelled.wait())
    assert web.state.disconnected.is_set()


async def test_a_client_that_leaves_closes_its_stream(web):
    client = await web.connect()
    await client.send("GET /stream?wait=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await soon(web.state.started.wait())
    client.close()
    await soon(web.state.cancelled.wait())


async def test_a_half_closed_client_still_gets_its_answer(web):
    client = await web.connect()
    await client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    client.writer.write_eof()
    await soon(web.state.started.wait())
    web.state.release.set()
    assert (await soon(client.response()))[2] == b'"released"\n'
    assert await soon(client.ended())


async def test_a_half_closed_client_that_then_closes_cancels_its_handler(web):
    client = await web.connect()
    await client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    client.writer.write_eof()
    await soon(web.state.started.wait())
    client.close()
    await soon(web.state.cancelled.wait())


async def test_a_client_that_does_not_read_holds_its_producer_back(web):
    client = await web.connect()
    client.writer.transport.pause_reading()
    await client.send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
    last = -1
    while last != web.state.produced or not last:
        last = web.state.produced
        await asyncio.sleep(0.1)
    assert last < 100
    client.writer.transport.resume_reading()
    total = len((await asyncio.wait_for(client.response(), 60))[2])
    assert total == 2000 * 65536


async def test_a_handler_that_does_not_read_holds_its_client_back(web):
    client = await web.connect()
    await client.send("POST /slow-body HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
    sock = client.writer.get_extra_info("socket")
    sent = 0
    block = b"x" * 65536
    fd = os.dup(sock.fileno())
    try:
        await soon(asyncio.to_thread(os.write, fd, b"x"))
        sent += 1
        await soon(web.state.started.wait())
        idle = 0
        while idle < 20:
            try:
                sent += os.write(fd, block)
                idle = 0
            except BlockingIOError:
                idle += 1
                await asyncio.sleep(0.01)
        assert sent < 5_000_000
        web.state.release.set()
        while sent < 50_000_000:
            try:
                sent += os.write(fd, block[: 50_000_000 - sent])
            except BlockingIOError:
                await asyncio.sleep(0)
    finally:
        os.close(fd)
    assert (await asyncio.wait_for(client.response(), 60))[2] == b"50000000\n"


@pytest.mark.parametrize(
    ("upgrade", "status"), [("Connection: Upgrade\r\nUpgrade: tcp\r\n", "101 UPGRADED"), ("", "200 OK")]
)
async def test_hijack_gives_the_connection_with_what_came_behind_the_request(web, upgrade, status):
    client = await web.connect()
    await client.send(f"POST /take HTTP/1.1\r\nHost: x\r\n{upgrade}Content-Length: 2\r\n\r\n{{}}stdin bytes")
    head = (await soon(client.reader.readuntil(b"\r\n\r\n"))).decode()
    assert head.startswith(f"HTTP/1.1 {status}\r\nContent-Type: application/vnd.docker.raw-stream\r\n")
    assert ("Upgrade: tcp" in head) == bool(upgrade)
    assert "Content-Length" not in head
    while web.state.taken is None:
        await asyncio.sleep(0)
    with socket.socket(fileno=web.state.taken.fd) as taken:
        taken.setblocking(True)
        taken.settimeout(TIMEOUT)
        assert web.state.taken.preface == b"stdin bytes"
        await client.send("more")
        client.writer.write_eof()
        assert await asyncio.to_thread(taken.recv, 100) == b"more"
        assert await asyncio.to_thread(taken.recv, 100) == b""  # half-closed: output still goes
        taken.sendall(b"output")
        assert await soon(client.reader.readexactly(6)) == b"output"
    assert await soon(client.ended())
    assert not web.server.connections


async def test_closing_the_server_cancels_what_waits_and_answers_it(directory):
    async with serving(directory) as harness:
        waiting, idle = await harness.connect(), await harness.connect()
        assert (await soon(idle.get("/hello")))[0] == 200
        await waiting.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        await soon(harness.state.started.wait())
        await soon(harness.server.close())
        assert (await soon(waiting.response()))[0] == 503
        assert await soon(idle.ended())


async def test_many_clients_at_once(web):
    clients = await asyncio.gather(*(web.connect() for _ in range(200)))
    answers = await asyncio.gather(*(soon(client.get(f"/hello?name={n}")) for n, client in enumerate(clients)))
    assert [json.loads(body)["hello"] for _s, _h, body in answers] == [str(n) for n in range(200)]
