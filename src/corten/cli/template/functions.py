"""The functions of templates: Go's own and those that Docker adds. Each takes evaluated arguments."""

from __future__ import annotations

from corten.cli.template.printing import go_json, go_string, sprintf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class Failed(Exception):
    """A function cannot work with these arguments."""


def truth(value: Any) -> bool:
    """Go's: everything but the zero value."""
    return bool(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key if isinstance(key, str) else go_string(key))
        elif isinstance(value, (list, str)):
            if not isinstance(key, int) or isinstance(key, bool):
                raise Failed(f"cannot index slice/array with type {type(key).__name__}")
            if not 0 <= key < len(value):
                raise Failed(f"error calling index: reflect: slice index out of range: {key}")
            value = ord(value[key]) if isinstance(value, str) else value[key]
        elif value is None:
            raise Failed("error calling index: index of untyped nil")
        else:
            raise Failed(f"error calling index: can't index item of type {type(value).__name__}")
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (str, list)):
        raise Failed(f"error calling slice: can't slice item of type {type(value).__name__}")
    low, high = (bounds[0] if bounds else 0), (bounds[1] if len(bounds) > 1 else len(value))
    if not 0 <= low <= high <= len(value):
        raise Failed(f"error calling slice: index out of range: {high}")
    return value[low:high]


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (list, dict)):
        return len(value)
    raise Failed(f"error calling len: len of type {'nil pointer' if value is None else type(value).__name__}")


def _comparable(first: Any, second: Any) -> None:
    numbers = (int, float)
    same = type(first) is type(second) or (isinstance(first, numbers) and isinstance(second, numbers))
    if not same and first is not None and second is not None:
        raise Failed("incompatible types for comparison")


def _equal(first: Any, *others: Any) -> bool:
    if not others:
        raise Failed("error calling eq: missing argument for comparison")
    for other in others:
        _comparable(first, other)
        if first == other:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    _comparable(first, second)
    try:
        return bool(first < second)
    except TypeError:
        raise Failed("invalid type for comparison") from None


def _print(*values: Any) -> str:
    """fmt.Sprint: a space between two operands when neither is a string."""
    parts: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            parts.append(" ")
        parts.append(go_string(value))
    return "".join(parts)


def _truncate(text: Any, length: int) -> str:
    return go_string(text)[:length]


def _pad(text: Any, before: int, after: int) -> str:
    shown = go_string(text)
    return " " * before + shown + " " * after if shown else shown


def _title(text: str) -> str:
    result, fresh = "", True
    for char in text:
        result += char.upper() if fresh else char
        fresh = not (char.isalnum() or char in "_'")
    return result


def _join(values: Any, separator: str) -> str:
    if not isinstance(values, list):
        raise Failed(f"wrong type for value; expected []string; got {type(values).__name__}")
    return separator.join(go_string(value) for value in values)


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _escape_html(*values: Any) -> str:
    text = _print(*values)
    for char, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(char, name)
    return text


def _urlquery(*values: Any) -> str:
    from corten.client.query import quote

    return quote(_print(*values), " ").replace(" ", "+")


def _printf(form: str, *values: Any) -> str:
    return sprintf(form, list(values))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": _length,
    "index": _index,
    "slice": _slice,
    "not": lambda value: not truth(value),
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": _less,
    "le": lambda first, second: _less(first, second) or first == second,
    "gt": lambda first, second: not _less(first, second) and first != second,
    "ge": lambda first, second: not _less(first, second),
    "print": _print,
    "printf": _printf,
    "println": lambda *values: " ".join(go_string(value) for value in values) + "\n",
    "html": _escape_html,
    "urlquery": _urlquery,
    "json": go_json,
    "split": _split,
    "join": _join,
    "title": _title,
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": _pad,
    "truncate": _truncate,
}
