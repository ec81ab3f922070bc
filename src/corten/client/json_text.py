"""JSON to and from bytes for the client, without `import json`.

The `json` package pulls in `re` and `enum`: 9 ms at each start of the command line. Its C core `_json` alone costs
0.1 ms. Where an interpreter has no `_json`, the package is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _build() -> tuple[Any, Any]:
    """The C scanner and encoder, set up as `json` does by default."""
    import _json

    class _Context:
        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = float
        memo: dict[str, str] = {}

    def refuse(value: object) -> Any:
        raise TypeError(f"{type(value).__name__} is not a JSON value")

    encoder = _json.make_encoder(None, refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False)
    return _json.make_scanner(_Context()), encoder  # type: ignore[arg-type]  # any object with these attributes


try:
    _scan, _encode = _build()
except ImportError:  # an interpreter without the accelerator
    import json

    _scan = json.JSONDecoder().raw_decode
    _encode = None


def loads(data: bytes | str) -> Any:
    """Decode one JSON value; raises ValueError. Text after the value is an error, white space is not."""
    value, rest = scan(data.decode("utf-8", "surrogatepass") if isinstance(data, bytes) else data, 0)
    if rest:
        raise ValueError("text after the JSON value")
    return value


def scan(text: str, start: int) -> tuple[Any, str]:
    """Decode the value that begins at or after `start`; returns it and the text behind it, stripped."""
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    try:
        value, end = _scan(text, start)
    except StopIteration as error:
        raise ValueError(f"not JSON at character {error.value}") from None
    return value, text[end:].strip(" \t\r\n")


def dumps(value: object) -> bytes:
    """Encode compactly, ASCII only. Bytes of an argument that are not UTF-8 become U+FFFD, as in Docker's client."""
    text = _dumps(value)
    if "\\ud" in text:  # half a surrogate pair, or a harmless whole one
        text = _dumps(_without_surrogates(value))
    return text.encode("ascii")


def _dumps(value: object) -> str:
    if _encode is None:
        import json

        return json.dumps(value, separators=(",", ":"))
    return "".join(_encode(value, 0))


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_surrogates(item) for item in value]
    return value
