"""Messages to bytes and back, and what strangers may send instead."""

import contextlib
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.lib.protobuf.message import Message, fields_of
from corten.lib.protobuf.wire import Malformed, decode, encode


class Inner(Message):
    text: Annotated[str, 1] = ""
    number: Annotated[int, 15] = 0


class Outer(Message):
    flag: Annotated[bool, 1] = False
    number: Annotated[int, 2] = 0
    text: Annotated[str, 3] = ""
    data: Annotated[bytes, 4] = b""
    inner: Annotated[Inner | None, 5] = None
    inners: Annotated[list[Inner], 6] = []
    texts: Annotated[list[str], 7] = []
    pairs: Annotated[dict[str, str], 8] = {}
    blobs: Annotated[dict[str, bytes], 9] = {}
    messages: Annotated[dict[int, Inner], 16] = {}


class Nothing(Message):
    pass


class Nested(Message):
    below: "Annotated[Nested | None, 1]" = None


numbers = st.integers(-(1 << 63), (1 << 63) - 1)
inners = st.builds(Inner, text=st.text(), number=numbers)
outers = st.builds(
    Outer,
    flag=st.booleans(),
    number=numbers,
    text=st.text(),
    data=st.binary(),
    inner=st.none() | inners,
    inners=st.lists(inners, max_size=4),
    texts=st.lists(st.text(), max_size=4),
    pairs=st.dictionaries(st.text(), st.text(), max_size=4),
    blobs=st.dictionaries(st.text(), st.binary(), max_size=4),
    messages=st.dictionaries(numbers, inners, max_size=4),
)


@given(outers)
def test_what_is_written_is_read(message):
    assert decode(Outer, encode(message)) == message


@given(outers)
def test_unknown_fields_are_passed_over(message):
    assert decode(Nothing, encode(message)) == Nothing()


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_malformed(data):
    with contextlib.suppress(Malformed):
        decode(Outer, data)


@given(outers, st.data())
def test_a_message_cut_short_is_another_message_or_malformed(message, data):
    whole = encode(message)
    with contextlib.suppress(Malformed):
        decode(Outer, whole[: data.draw(st.integers(0, len(whole)))])


def test_the_bytes_are_those_of_the_specification():
    assert encode(Outer(number=150)) == b"\x10\x96\x01"
    assert encode(Outer(text="testing")) == b"\x1a\x07testing"
    assert encode(Outer(inner=Inner())) == b"\x2a\x00"
    assert encode(Outer(number=-1)) == b"\x10" + b"\xff" * 9 + b"\x01"
    assert encode(Outer(pairs={"a": "b"})) == b"\x42\x06\x0a\x01a\x12\x01b"
    assert decode(Outer, b"\x42\x00").pairs == {"": ""}
    assert decode(Outer, b"\x82\x01\x02\x08\x05").messages == {5: Inner()}


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # ends inside a number
        b"\x10" + b"\xff" * 11,  # a number of over 64 bits
        b"\x1a\x05abc",  # ends inside a field
        b"\x18\x01",  # text as a number
        b"\x0b\x0c",  # a group
        b"\x00\x00",  # the field 0
        b"\x42\x02\x08\x01",  # a map whose key is a number
    ],
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(Malformed):
        decode(Outer, data)


def test_depth_and_number_of_fields_are_bounded():
    deep = b""
    for _ in range(31):
        deep = b"\x0a" + bytes([len(deep)]) + deep
    assert decode(Nested, deep)
    for _ in range(8):
        deep = b"\x0a" + bytes([len(deep)]) + deep
    with pytest.raises(Malformed, match="nested"):
        decode(Nested, deep)
    with pytest.raises(Malformed, match="too many"):
        decode(Outer, b"\x3a\x00" * (1 << 19))
    many = b"\x18\x00" * (1 << 19)  # in an entry of a map
    with pytest.raises(Malformed, match="too many"):
        decode(Outer, b"\x42\x80\x80\x40" + many)


def test_text_that_is_no_utf8_is_kept():
    assert encode(decode(Outer, b"\x1a\x02\xff\xfe")) == b"\x1a\x02\xff\xfe"


def test_an_annotation_without_a_form_is_refused():
    class Wrong(Message):
        number: Annotated[float, 1] = 0.0

    class Bare(Message):
        number: int = 0

    for wrong in (Wrong, Bare):
        with pytest.raises(TypeError):
            fields_of(wrong)
