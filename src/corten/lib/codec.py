"""The one door between JSON bytes and typed objects. Daemon only; the zygote, shim and init never import it.

msgspec does the work. Wire types are `msgspec.Struct` with `rename` metadata; decoding is strict about types
(Go clients never send floats for integers) and lenient about unknown fields, as Docker is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from corten.errors import InvalidArgument

T = TypeVar("T")

_encoder = msgspec.json.Encoder()


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode(kind: type[T], data: bytes | bytearray | memoryview) -> T:
    """The object of type `kind` that `data` (one JSON document) holds.

    Raises InvalidArgument with Docker's wording when it is no JSON or of another type.
    """
    try:
        result: T = _decoder(kind).decode(data)  # type: ignore[arg-type]
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidArgument(f"invalid JSON: {error}") from error
    return result


def encode(value: object) -> bytes:
    """`value` as compact JSON bytes, without a newline at the end."""
    return _encoder.encode(value)


def to_plain(value: object) -> Any:
    """`value` as dicts, lists and scalars: for templates and for the zygote's stdlib-only side."""
    return msgspec.to_builtins(value)


def from_plain(kind: type[T], value: object) -> T:
    """The typed object of dicts, lists and scalars. Raises InvalidArgument."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"invalid value: {error}") from error
