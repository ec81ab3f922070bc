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
        return _decoded(kind, data)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidArgument(f"invalid JSON: {error}") from error


def _decoded(kind: type[T], data: bytes | bytearray | memoryview) -> T:
    try:
        result: T = _decoder(kind).decode(data)  # type: ignore[arg-type]
    except msgspec.ValidationError:
        # Go takes null for any type as its zero value, and docker-py sends it: once more, without the nulls.
        plain = msgspec.json.decode(data)
        without = _without_nulls(plain)
        if without is plain:
            raise
        result = msgspec.convert(without, kind)
    return result


def _without_nulls(value: Any) -> Any:
    """`value` less the null members of objects that are not maps; the same object when there are none.

    A map's null is a value of its own (`"80/tcp": null` in PortBindings). Names of fields begin with a capital letter
    and have neither slash nor blank; maps whose keys look like that do not have null values in this API.
    """
    if isinstance(value, list):
        items = [_without_nulls(item) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if not isinstance(value, dict):
        return value
    kept = {
        key: _without_nulls(item)
        for key, item in value.items()
        if item is not None or not (key[:1].isupper() and key.isalnum())
    }
    if len(kept) == len(value) and all(kept[key] is value[key] for key in kept):
        return value
    return kept


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
