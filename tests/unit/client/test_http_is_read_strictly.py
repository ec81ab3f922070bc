"""The client's HTTP: heads, chunks and messages however they are cut, and refusal of what is not HTTP."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.client import json_text
from corten.client.address import parse_address
from corten.client.api import split_messages
from corten.client.connection import Connection
from corten.client.errors import ConnectionBroken
from corten.client.frames import FrameReader
from corten.client.query import encode_query, quote
from corten.errors import InvalidArgument


def _connection(data: bytes) -> Connection:
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    return Connection(ours)


def test_a_chunked_body_with_trailers_is_read() -> None:
    conn = _connection(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\nnext"
    )
    assert conn.read_head() == 200
    assert conn.read_body() == b"abcde"
    assert conn.pending() == b"next"
    conn.close()


def test_informational_answers_are_skipped_but_101_is_not() -> None:
    conn = _connection(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nraw")
    assert conn.read_head() == 101
    assert conn.pending() == b"raw"
    assert not conn.reusable
    conn.close()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20000,
    ],
)  # fmt: skip
def test_a_broken_answer_is_told_so(data: bytes) -> None:
    conn = _connection(data)
    with pytest.raises(ConnectionBroken):
        conn.read_head()
        conn.read_body()
        conn.read_head()
    conn.close()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_json_is_what_the_standard_library_says(value: Any) -> None:
    encoded = json_text.dumps(value)
    assert json.loads(encoded) == value
    assert json_text.loads(json.dumps(value)) == value
    assert json_text.loads(b" \n" + encoded + b"\r\n") == value


@pytest.mark.parametrize("text", [b"", b"{", b"1 2", b'{"a":}', b"nope"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        json_text.loads(text)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=3), max_size=6),
    st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=40),
    st.sampled_from([b"", b"\n", b"\r\n"]),
)
def test_messages_are_found_however_the_stream_is_cut(values: list[Any], cuts: list[int], end: bytes) -> None:
    data = b"".join(json.dumps(value, ensure_ascii=False).encode() + end for value in values)
    pieces, position, index = [], 0, 0
    while position < len(data):
        size = cuts[index % len(cuts)]
        pieces.append(data[position : position + size])
        position += size
        index += 1
    assert list(split_messages(iter(pieces))) == values


def test_a_stream_that_ends_inside_a_message_is_broken() -> None:
    with pytest.raises(ConnectionBroken):
        list(split_messages(iter([b'{"a":1}{"b":'])))


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=20)), max_size=6), st.integers(1, 11))
def test_frames_are_found_however_the_stream_is_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text for stream, text in frames)
    reader = FrameReader()
    found = {1: b"", 2: b""}
    for position in range(0, len(data), size):
        for stream, payload in reader.feed(data[position : position + size]):
            found[stream] += payload
    assert not reader.incomplete
    for stream in found:
        assert found[stream] == b"".join(text for number, text in frames if number == stream)


def test_queries_repeat_lists_and_leave_nothing_out_that_counts() -> None:
    assert encode_query({"a": True, "b": False, "c": "", "d": 0, "e": ["x y", "ü"]}) == "a=1&d=0&e=x%20y&e=%C3%BC"
    assert quote("a/b:c", "/:") == "a/b:c"


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ("unix:///run/x.sock", "unix", "/run/x.sock"), ("/run/x.sock", "unix", "/run/x.sock"),
        ("tcp://host:99", "tcp", ("host", 99)), ("tcp://[::1]:5", "tcp", ("::1", 5)), ("tcp://host", "tcp", ("host", 2375)),
        ("host:5", "tcp", ("host", 5)), ("ssh://me@there", "ssh", "me@there"),
    ],
)  # fmt: skip
def test_addresses(text: str, kind: str, where: object) -> None:
    address = parse_address(text)
    assert address.kind == kind
    assert where in (address.path, address.name, (address.name, address.port))


@pytest.mark.parametrize("text", ["unix://", "foo://x", "tcp://h:x", "tcp://h:99999"])
def test_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_address(text)


def test_bytes_of_arguments_that_are_not_utf8_are_replaced_and_all_else_is_kept() -> None:
    argument = b"\xff\xfea".decode("utf-8", "surrogateescape")
    sent = json_text.dumps({"Cmd": [argument, "\U0001f600", "\\ud800"]})
    assert json_text.loads(sent) == {"Cmd": ["\ufffd\ufffda", "\U0001f600", "\\ud800"]}
