"""What must be refused: smuggling, oversized and malformed requests, slow ones, JSON bombs."""

import asyncio
import json

import pytest
from tests.unit.api.harness import serving

TIMEOUT = 20


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, TIMEOUT)


BAD_HEADS = {
    "length beside coding": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "coding beside length": "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    "two lengths": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "two equal lengths": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "list of lengths": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
    "signed length": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    "negative length": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc",
    "hexadecimal length": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc",
    "huge length": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
    "coding gzip": "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "coding twice": "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "coding with tab": "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\n\r\n",
    "coding xchunked": "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "space before colon": "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
    "folded line": "GET /hello HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "bare line feeds": "GET /hello HTTP/1.1\nHost: x\n\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare carriage return": "GET /hello HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "NUL in a header": "GET /hello HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
    "no name": "GET /hello HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "no colon": "GET /hello HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "two hosts": "GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": "GET /hello HTTP/1.1\r\n\r\n",
    "unknown method": "BREW /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    "no version": "GET /hello\r\nHost: x\r\n\r\n",
    "HTTP/2": "GET /hello HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": "GET /hello HTTP/9.9\r\nHost: x\r\n\r\n",
    "space in the path": "GET /hel lo HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "too many headers": "GET /hello HTTP/1.1\r\nHost: x\r\n" + "".join(f"X-{n}: y\r\n" for n in range(300)) + "\r\n",
    "long target": "GET /hello?" + "a" * 70_000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_HEADS)
async def test_a_malformed_head_is_answered_once_and_the_connection_closed(web, name):
    client = await web.connect()
    await client.send(BAD_HEADS[name].encode("latin-1") + b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    status, headers, body = await soon(client.response())
    assert status in (400, 431, 501, 505)
    assert headers["connection"] == "close"
    assert json.loads(body)["message"]
    assert await soon(client.ended())
    assert web.state.bodies == []


async def test_two_megabytes_of_headers_are_cut_off(web):
    client = await web.connect()
    await client.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n")
    block = b"X-Padding: " + b"a" * 8000 + b"\r\n"
    try:
        for _ in range(256):
            await client.send(block)
    except (ConnectionResetError, BrokenPipeError):
        pass
    status, _headers, _body = await soon(client.response())
    assert status == 431


BAD_CHUNKS = {
    "no hex": b"xyz\r\nabc\r\n0\r\n\r\n",
    "sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "underscore": b"1_0\r\nabcdefghijklmnop\r\n0\r\n\r\n",
    "empty size": b"\r\nabc\r\n0\r\n\r\n",
    "space before": b" 3\r\nabc\r\n0\r\n\r\n",
    "too long a size": b"0000000000000003\r\nabc\r\n0\r\n\r\n",
    "overflow": b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "line feed only": b"3\nabc\n0\n\n",
    "data longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "carriage return in the extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "endless extension": b"3;" + b"a" * 10_000 + b"\r\nabc\r\n0\r\n\r\n",
    "trailers without end": b"0\r\n" + b"X: y\r\n" * 10_000,
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_a_malformed_chunk_is_a_bad_request_and_ends_the_connection(web, name):
    client = await web.connect()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + BAD_CHUNKS[name] + b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    status, headers, _body = await soon(client.response())
    assert (status, headers["connection"]) == (400, "close")
    assert await soon(client.ended())
    assert web.state.bodies == []


async def test_a_slow_head_is_cut_off(directory):
    async with serving(directory, head_s=0.1) as harness:
        client = await harness.connect()
        await client.send("GET /hello HTTP/1.1\r\nX:")
        status, _headers, body = await soon(client.response())
        assert (status, json.loads(body)["message"]) == (408, "timed out waiting for the request")
        assert await soon(client.ended())


async def test_a_slow_body_is_cut_off(directory):
    async with serving(directory, body_s=0.1) as harness:
        client = await harness.connect()
        await client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        assert await soon(client.ended())


async def test_an_idle_connection_is_closed(directory):
    async with serving(directory, idle_s=0.1) as harness:
        client, silent = await harness.connect(), await harness.connect()
        assert (await soon(client.get("/hello")))[0] == 200
        assert await soon(client.ended())
        assert await soon(silent.ended())


async def test_a_waiting_handler_has_no_deadline(directory):
    async with serving(directory, idle_s=0.05, head_s=0.05, body_s=0.05) as harness:
        client = await harness.connect()
        await client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.3)
        harness.state.release.set()
        assert (await soon(client.response()))[0] == 200


async def test_a_truncated_body_is_refused(web):
    client = await web.connect()
    await client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    client.writer.write_eof()
    status, _headers, body = await soon(client.response())
    assert (status, json.loads(body)["message"]) == (400, "unexpected end of the request body")


async def test_a_body_above_the_limit_is_refused_unread(web):
    client = await web.connect()
    await client.send(f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {17 << 20}\r\n\r\n")
    status, _headers, body = await soon(client.response())
    assert (status, json.loads(body)["message"]) == (400, "request body too large")


async def post_json(client, data, content_type="application/json"):
    await client.send(
        f"POST /json HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return await soon(client.response())


BAD_JSON = {
    "deep": b"[" * 200_000,
    "deep object": b'{"a":' * 200_000,
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "huge integer of digits": b'{"a":' + b"9" * 5_000_000 + b"x}",
    "lone surrogate": b'{"a":"\\ud800"}',
    "not UTF-8": b'{"a":"\xff"}',
    "trailing": b'{"a":1} {"b":2}',
    "wrong type": b"[1]",
    "nothing": b"",
    "cut": b'{"a":',
    "control character": b'{"a":"\x01"}',
}


@pytest.mark.parametrize("name", BAD_JSON)
async def test_bad_json_is_a_bad_request(web, name):
    client = await web.connect()
    status, _headers, body = await post_json(client, BAD_JSON[name])
    assert status == 400
    assert "JSON" in json.loads(body)["message"] or "invalid" in json.loads(body)["message"]
    assert (await post_json(client, b'{"a":1}'))[2] == b'{"a":1}\n'


async def test_json_needs_its_content_type(web):
    client = await web.connect()
    assert (await post_json(client, b'{"a":1}', "application/json; charset=utf-8"))[0] == 200
    status, _headers, body = await post_json(client, b'{"a":1}', "text/plain")
    assert status == 400
    assert json.loads(body)["message"] == "unsupported Content-Type header (text/plain): must be 'application/json'"
    await client.send("POST /json HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    status, _headers, body = await soon(client.response())
    assert json.loads(body)["message"] == "malformed Content-Type header (): mime: no media type"


@pytest.mark.parametrize(
    "path",
    [
        "/hello?filters=%zz",
        "/%ff%fe",
        "/hello?" + "&".join(f"a{n}=1" for n in range(2000)),
        "/%00",
        "//hello",
        "/%2e%2e/hello",
        "/hello%0d%0aX: y",
    ],
)
async def test_odd_paths_never_become_a_server_error(web, path):
    status, _headers, _body = await soon((await web.connect()).get(path.replace(" ", "%20")))
    assert status in (200, 400, 404)


async def test_two_hundred_slow_clients_do_not_hold_up_another(directory):
    async with serving(directory, head_s=30.0) as harness:
        for _ in range(200):
            await (await harness.connect()).send("GET /hello HTTP/1.1\r\nHost: x\r\nX: ")
        assert (await soon((await harness.connect()).get("/hello")))[0] == 200
