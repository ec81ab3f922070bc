"""Messages as records: a field's number stands in its annotation. Pure; daemon.

    class Packet(Message):
        type: Annotated[int, 1] = 0
        stat: Annotated[Stat | None, 2] = None
        xattrs: Annotated[dict[str, bytes], 10] = {}

A field's type is int (varint: int32, int64, uint32, enum), bool, str, bytes, another message or None, a list of str,
bytes or messages, or a dict of such. What proto3 leaves out is the default. `wire.py` reads and writes them.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["int", "bool", "str", "bytes", "message"]
_SCALARS: dict[type, Kind] = {int: "int", bool: "bool", str: "str", bytes: "bytes"}


class Message(msgspec.Struct, kw_only=True):
    """The base of all messages."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `message` is the type of a message, `key` the kind of a map's key ("" for no map)."""

    name: str
    number: int
    kind: Kind
    message: type[Message] | None = None
    is_list: bool = False
    key: Kind | None = None


@lru_cache(maxsize=512)
def fields_of(message: type[Message]) -> tuple[Field, ...]:
    """The fields, by number. Raises TypeError for an annotation that the wire has no form for."""
    hints = typing.get_type_hints(message, include_extras=True)
    return tuple(sorted((_field(name, hint) for name, hint in hints.items()), key=lambda field: field.number))


@lru_cache(maxsize=512)
def by_number(message: type[Message]) -> dict[int, Field]:
    """The fields by their numbers."""
    return {field.number: field for field in fields_of(message)}


def _field(name: str, hint: Any) -> Field:
    if typing.get_origin(hint) is not typing.Annotated:
        raise TypeError(f"the field {name} has no number")
    kind, number = typing.get_args(hint)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        value, message = _kind(name, args[0])
        if value in ("int", "bool"):
            raise TypeError(f"the field {name}: lists of numbers have no form here")
        return Field(name, number, value, message, is_list=True)
    if origin is dict:
        key, _ = _kind(name, args[0])
        value, message = _kind(name, args[1])
        return Field(name, number, value, message, key=key)
    value, message = _kind(name, kind)
    return Field(name, number, value, message)


def _kind(name: str, hint: Any) -> tuple[Kind, type[Message] | None]:
    scalar = _SCALARS.get(hint)
    if scalar is not None:
        return scalar, None
    if isinstance(hint, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if isinstance(hint, type) and issubclass(hint, Message):
        return "message", hint
    raise TypeError(f"the field {name} has a type that the wire has no form for: {hint!r}")
