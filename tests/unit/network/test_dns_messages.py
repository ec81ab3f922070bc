"""DNS messages: what is read, what is refused, and that no bytes whatever do harm."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.kernel.network.asking import parse, query

from corten.network.dns import message
from corten.network.dns.message import Malformed, format_error, is_answer, name_wire, parse_query, record, respond

LABEL = st.binary(min_size=1, max_size=63)
HEAD = struct.Struct("!6H")


def bytes_of(labels, kind=1, klass=1, *, counts=(1, 0, 0, 0), rest=b"", flags=0x0100):
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return HEAD.pack(0x1234, flags, *counts) + name + struct.pack("!HH", kind, klass) + rest


def read(data):
    """The query, or why there is none."""
    try:
        return parse_query(data)
    except Malformed as error:
        return error


def test_a_query_with_more_records_than_any_has_is_not_walked_through():
    record = b"\0" + struct.pack("!HHIH", 250, 255, 0, 0)
    assert read(bytes_of([b"a"], counts=(1, 0, 0, 16), rest=record * 16)).name == "a"
    for counts in ((1, 0, 0, 17), (1, 9, 8, 0), (1, 0, 0, 5000)):
        found = read(bytes_of([b"a"], counts=counts, rest=record * sum(counts[1:])))
        assert isinstance(found, Malformed)
        assert found.identity == 0x1234


@given(st.binary(max_size=600))
@example(bytes_of([b"a"])[:12] + b"\xc0\x0c\0\1\0\1")
def test_any_bytes_are_a_query_or_malformed(data):
    found = read(data)
    if isinstance(found, Malformed):
        assert found.identity in (-1, int.from_bytes(data[:2], "big"))
    else:
        assert data[12 : 12 + len(found.question)] == found.question
        assert len(respond(found, 0, [], limit=512)) <= 512


@given(st.binary(max_size=300), st.integers(0, 3), st.integers(0, 3))
def test_any_bytes_behind_a_question_are_an_edns_record_or_malformed(rest, before, additional):
    found = read(bytes_of([b"a"], counts=(1, before, 0, additional), rest=rest))
    if isinstance(found, Malformed):
        assert found.identity == 0x1234
    else:
        assert 512 <= found.udp_bytes <= 4096


@given(st.lists(LABEL, max_size=8), st.integers(0, 65535), st.integers(0, 65535))
def test_a_name_keeps_its_bytes_in_the_question_and_is_compared_in_lower_case(labels, kind, klass):
    data = bytes_of(labels, kind, klass)
    if sum(len(label) + 1 for label in labels) >= 255:
        with pytest.raises(Malformed):
            parse_query(data)
        return
    found = parse_query(data)
    assert (found.kind, found.klass, found.identity) == (kind, klass, 0x1234)
    assert respond(found, 0, limit=512)[12:] == data[12:]
    assert found.name == b".".join(label.replace(b".", b"\\.") for label in labels).lower().decode("latin-1")


def test_two_labels_and_one_with_a_dot_in_it_are_different_names():
    assert parse_query(bytes_of([b"a", b"b"])).name != parse_query(bytes_of([b"a.b"])).name


@pytest.mark.parametrize(
    ("data", "identity"),
    [
        (b"\x12\x34\x01", -1),
        (bytes_of([b"a"], flags=0x8100), -1),  # an answer gets none: two servers would talk for ever
        (bytes_of([b"a"], counts=(0, 0, 0, 0)), 0x1234),
        (bytes_of([b"a"], counts=(2, 0, 0, 0)), 0x1234),
        (bytes_of([b"a"])[:-1], 0x1234),
        (bytes_of([b"a"], counts=(1, 0, 0, 1)), 0x1234),
        (bytes_of([b"a"], counts=(1, 0, 0, 1), rest=b"\xc0\x0c" + struct.pack("!HHIH", 41, 512, 0, 9)), 0x1234),
        (bytes_of([b"a"], counts=(1, 0, 0, 2), rest=2 * (b"\0" + struct.pack("!HHIH", 41, 512, 0, 0))), 0x1234),
        (HEAD.pack(0x1234, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", 0x1234),
        (HEAD.pack(0x1234, 0, 1, 0, 0, 0) + b"\x80abc\0\0\1\0\1", 0x1234),
    ],
)
def test_what_is_malformed_is_refused_by_its_id(data, identity):
    with pytest.raises(Malformed) as caught:
        parse_query(data)
    assert caught.value.identity == identity
    if identity >= 0:
        assert format_error(identity)[:4] == struct.pack("!HH", identity, 0x8081)


def test_edns_says_how_much_the_client_takes_and_is_answered():
    found = parse_query(query("a", 1, edns=1400))
    assert (found.udp_bytes, found.edns) == (1400, 0)
    assert parse_query(query("a", 1, edns=100)).udp_bytes == 512
    assert parse_query(query("a", 1, edns=65000)).udp_bytes == 4096
    answer = respond(found, 0, [record(message.A, b"\1\2\3\4", 5)], limit=512)
    assert answer[-11:] == b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
    assert parse(answer) == (0, False, "a", ["1.2.3.4"])


@given(st.integers(0, 80), st.integers(100, 1500))
def test_answers_that_do_not_fit_are_left_out_and_that_is_said(count, limit):
    found = parse_query(query("some.name", 1, edns=4096))
    records = [record(message.A, bytes([1, 2, 3, number]), 5) for number in range(count)]
    answer = respond(found, 0, records, limit=limit)
    _rcode, truncated, _question, given_ = parse(answer)
    assert len(answer) <= limit
    assert truncated == (len(given_) < count)
    assert given_ == [f"1.2.3.{number}" for number in range(len(given_))]


def test_only_an_answer_to_the_very_question_is_believed():
    sent = query("a.example", 1, identity=99)
    question = parse_query(sent).question
    good = respond(parse_query(sent), 0, limit=512)
    assert is_answer(good, 99, question)
    assert is_answer(good.replace(b"example", b"EXAMPLE"), 99, question)
    assert not is_answer(good, 98, question)
    assert not is_answer(sent, 99, question)
    assert not is_answer(good.replace(b"example", b"exampla"), 99, question)
    assert not is_answer(good[:20], 99, question)
    assert not is_answer(b"", 99, question)
    assert is_answer(HEAD.pack(99, 0x8185, 0, 0, 0, 0), 99, question)  # refused, without the question
    assert not is_answer(HEAD.pack(99, 0x8180, 0, 0, 0, 0), 99, question)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_answer_or_not(data):
    assert is_answer(data, 1, b"\1a\0\0\1\0\1") in (True, False)


def test_names_that_dns_cannot_carry_are_refused():
    assert name_wire("a.bc") == b"\1a\2bc\0"
    for name in ("", "a..b", "x" * 64, ".".join(["x" * 60] * 5)):
        with pytest.raises(ValueError, match="DNS"):
            name_wire(name)
