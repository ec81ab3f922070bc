"""The pure parts: chunk framing, the router, versions, query strings."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.api import compat
from corten.api.body import ChunkedBody, LengthBody
from corten.api.head import BadRequest, parse_head
from corten.api.query import Query
from corten.api.router import Router
from corten.api.routing import Response, route
from corten.api.wire import render
from corten.errors import Internal, InvalidArgument


def feed(body, data, cuts):
    """(payload, rest) when the data arrives in pieces."""
    payload, rest = b"", b""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        piece = rest + data[start:end]
        pieces, used = body.feed(piece)
        payload += b"".join(pieces)
        rest = piece[used:]
    return payload, rest


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=10), st.binary(max_size=50), st.lists(st.integers(0, 10_000))
)
def test_chunks_give_their_payload_however_they_arrive(chunks, behind, cuts):
    data = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: x\r\n\r\n"
    body = ChunkedBody()
    assert feed(body, data + behind, cuts) == (b"".join(chunks), behind)
    assert body.done


@given(st.binary(max_size=300), st.integers(0, 200), st.lists(st.integers(0, 1000)))
def test_a_length_takes_exactly_its_bytes(data, length, cuts):
    body = LengthBody(length)
    payload, rest = feed(body, data, cuts)
    assert (payload, rest) == (data[:length], data[length:])
    assert body.done == (len(data) >= length)


@given(st.binary(max_size=300))
def test_any_bytes_are_chunks_or_an_error(data):
    with contextlib.suppress(BadRequest):
        _pieces, used = ChunkedBody().feed(data)
        assert used <= len(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_an_error(data):
    try:
        head = parse_head(data + b"\r\n\r\n")
    except BadRequest:
        return
    assert head.target


@route("GET", "/a")
@route("POST", "/a/{id}")
@route("GET", "/a/{id}/json")
@route("GET", "/a/{name:path}/get")
@route("DELETE", "/a/{name:path}")
@route("GET", "/a/special/json")
async def handler(request, services):
    return Response()


ROUTER = Router(handler.routes)


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/a", ("/a", {})),
        ("POST", "/a", None),
        ("POST", "/a/x", ("/a/{id}", {"id": "x"})),
        ("POST", "/a/x/y", None),
        ("GET", "/a/x/json", ("/a/{id}/json", {"id": "x"})),
        ("GET", "/a/special/json", ("/a/special/json", {})),
        ("GET", "/a/x/y/json", None),
        ("GET", "/a/r/n:t/get", ("/a/{name:path}/get", {"name": "r/n:t"})),
        ("DELETE", "/a/r/get", ("/a/{name:path}", {"name": "r/get"})),
        ("DELETE", "/a/", None),
        ("GET", "/b", None),
        ("GET", "", None),
    ],
)
def test_routes(method, path, found):
    result = ROUTER.find(method, path)
    assert (None if result is None else (result[0].path, result[1])) == found


@given(st.text(max_size=50))
def test_no_path_breaks_the_router(path):
    ROUTER.find("GET", path)
    version, rest = compat.split_version(path)
    assert path == (f"/v{version}{rest}" if version else rest)


@pytest.mark.parametrize(
    ("text", "version"), [("", compat.MAX), ("1.24", (1, 24)), ("1.50", (1, 50)), ("1.041", (1, 41))]
)
def test_versions(text, version):
    assert compat.negotiate(text) == version


@pytest.mark.parametrize("text", ["1.51", "1.23", "2.0", "1", "1.", ".", "1.2.3", "1.99999999999"])
def test_versions_that_are_not_spoken(text):
    with pytest.raises(InvalidArgument):
        compat.negotiate(text)


@given(st.text(max_size=100))
def test_any_query_is_read_or_refused(raw):
    try:
        query = Query(raw)
        query.number("a")
        query.filters(("x",))
    except InvalidArgument:
        pass


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("a", False),
        ("a=", False),
        ("a=0", False),
        ("a=No", False),
        ("a=FALSE", False),
        ("a=none", False),
        ("a=1", True),
        ("a=x", True),
        ("", False),
    ],
)
def test_booleans_as_docker_reads_them(raw, value):
    assert Query(raw).flag("a") is value


def test_both_forms_of_filters():
    for raw in ('filters={"label":{"a=b":true,"c":false}}', 'filters={"label":["a=b"]}'):
        assert Query(raw).filters() == {"label": ["a=b"]}


def test_a_header_cannot_hold_a_line_break():
    with pytest.raises(Internal):
        render(Response(headers={"X": "a\r\nY: b"}), chunked=False, keep_alive=True, head_only=False)
