"""Messages to bytes and back. Pure; daemon.

What is read comes from strangers: depth and the number of fields are bounded, so that a message takes at most some
fifty times its own length in memory; unknown fields are passed over. Text that is no UTF-8 is kept as Python keeps
file names (surrogateescape). Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from typing import Any, TypeVar

from corten.errors import InvalidArgument
from corten.lib.protobuf.message import Field, Message, by_number, fields_of

M = TypeVar("M", bound=Message)

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH = 32
_MANY = 1 << 18  # fields in one message, those of messages in it included
_WORD = (1 << 64) - 1
_ZERO: dict[str, object] = {"int": 0, "bool": False, "str": "", "bytes": b""}


class Malformed(InvalidArgument):
    """Bytes that are no message."""

    code = "protobuf-malformed"


# -- writing


def encode(message: Message) -> bytes:
    """The message's bytes, fields by number. Raises TypeError, ValueError for a number that has no 64-bit form."""
    out = bytearray()
    _write(message, out)
    return bytes(out)


def _write(message: Message, out: bytearray) -> None:
    for field in fields_of(type(message)):
        value = getattr(message, field.name)
        if field.key is not None:
            for key, item in value.items():
                entry = bytearray()
                _write_value(1, field.key, key, entry)
                _write_value(2, field.kind, item, entry)
                _put_bytes(field.number, entry, out)
        elif field.is_list:
            for item in value:
                _write_value(field.number, field.kind, item, out)
        elif value or (field.message is not None and value is not None):
            _write_value(field.number, field.kind, value, out)


def _write_value(number: int, kind: str, value: Any, out: bytearray) -> None:
    if kind in ("int", "bool"):
        _put_varint(number << 3 | _VARINT, out)
        whole = int(value)
        if not -(1 << 63) <= whole <= _WORD:
            raise ValueError(f"{whole} has no 64-bit form")
        _put_varint(whole & _WORD, out)
    elif kind == "str":
        _put_bytes(number, value.encode("utf-8", "surrogateescape"), out)
    elif kind == "bytes":
        _put_bytes(number, value, out)
    else:
        inner = bytearray()
        _write(value, inner)
        _put_bytes(number, inner, out)


def _put_bytes(number: int, data: bytes | bytearray, out: bytearray) -> None:
    _put_varint(number << 3 | _BYTES, out)
    _put_varint(len(data), out)
    out += data


def _put_varint(value: int, out: bytearray) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


# -- reading


def decode(kind: type[M], data: bytes | bytearray | memoryview) -> M:
    """The message of type `kind`. Raises Malformed."""
    return _Reader(data).message(kind, 0, len(data), _DEPTH)


class _Reader:
    """One message's bytes; `left` is how many fields may still come."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = bytes(data)
        self._left = _MANY

    def message(self, kind: type[M], at: int, end: int, depth: int) -> M:
        if depth <= 0:
            raise Malformed("the message is nested too deeply")
        known = by_number(kind)
        found: dict[str, Any] = {}
        while at < end:
            number, form, at = self._tag(at, end)
            start, at, value = self._value(form, at, end)
            field = known.get(number)
            if field is not None:
                self._take(field, form, found, (start, at, value), depth)
        return kind(**found)

    def _take(self, field: Field, form: int, found: dict[str, Any], place: tuple[int, int, int], depth: int) -> None:
        if form != (_VARINT if field.key is None and field.kind in ("int", "bool") else _BYTES):
            raise Malformed(f"the field {field.number} has another type")
        start, end, value = place
        if field.key is not None:
            key, item = self._entry(field, start, end, depth)
            found.setdefault(field.name, {})[key] = item
            return
        item = self._read(field.kind, field.message, start, end, value, depth)
        if field.is_list:
            found.setdefault(field.name, []).append(item)
        else:
            found[field.name] = item

    def _entry(self, field: Field, at: int, end: int, depth: int) -> tuple[Any, Any]:
        """A map's key and value."""
        assert field.key is not None
        key: Any = _ZERO[field.key]
        item: Any = field.message() if field.message is not None else _ZERO[field.kind]
        while at < end:
            number, form, at = self._tag(at, end)
            start, at, value = self._value(form, at, end)
            kind = field.key if number == 1 else field.kind
            if number not in (1, 2):
                continue
            if form != (_VARINT if kind in ("int", "bool") else _BYTES):
                raise Malformed(f"the map {field.number} has another type")
            if number == 1:
                key = self._read(kind, None, start, at, value, depth)
            else:
                item = self._read(kind, field.message, start, at, value, depth)
        return key, item

    def _read(self, kind: str, message: type[Message] | None, start: int, end: int, value: int, depth: int) -> Any:
        if kind == "int":
            return value - (1 << 64) if value >= 1 << 63 else value
        if kind == "bool":
            return value != 0
        if kind == "str":
            return self._data[start:end].decode("utf-8", "surrogateescape")
        if kind == "bytes":
            return self._data[start:end]
        assert message is not None
        return self.message(message, start, end, depth - 1)

    def _tag(self, at: int, end: int) -> tuple[int, int, int]:
        """The next field's number and form, and where its value begins."""
        tag, at = self._varint(at, end)
        self._left -= 1
        if self._left < 0:
            raise Malformed("the message has too many fields")
        if not 0 < tag >> 3 < 1 << 29:
            raise Malformed("the message has a field with an impossible number")
        return tag >> 3, tag & 7, at

    def _value(self, form: int, at: int, end: int) -> tuple[int, int, int]:
        """Where a value begins, where it ends, and a varint's number."""
        if form == _VARINT:
            value, after = self._varint(at, end)
            return at, after, value
        if form == _BYTES:
            size, start = self._varint(at, end)
            after = start + size
        elif form in (_FIXED64, _FIXED32):
            start, after = at, at + (8 if form == _FIXED64 else 4)
        else:
            raise Malformed(f"the message has a field of the unknown form {form}")
        if after > end:
            raise Malformed("the message ends inside a field")
        return start, after, 0

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        data = self._data
        if at < end and data[at] < 0x80:
            return data[at], at + 1
        value = shift = 0
        while at < end and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & _WORD, at
            shift += 7
        raise Malformed("the message ends inside a number" if at >= end else "the message has a number of over 64 bits")
