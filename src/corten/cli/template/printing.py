"""Go's default formats (%v) and JSON for values that came as JSON, and the printf of templates."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# JSON objects that are structs in Go: their fields print without names, in this order.
_STRUCTS = (
    ("HostIp", "HostPort"),
    ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"),
    ("Name", "MaximumRetryCount"),
)
_STRUCT_FIELDS = {frozenset(fields): fields for fields in _STRUCTS}
_BIND_MOUNT = frozenset(("Type", "Source", "Destination", "Mode", "RW", "Propagation"))
_DIGITS_OF_FLOAT = 21


class NullList(list["Any"]):
    """A list that was null: empty, and null again in JSON."""


class NullMap(dict[str, "Any"]):
    """A map that was null."""


class Nil(NullMap):
    """A nil pointer: prints `<nil>` and has no fields."""


def go_string(value: Any, *, top: bool = False) -> str:
    """As fmt prints with %v; `top` is for a template's own output, where nothing at all is `<no value>`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<no value>" if top else "<nil>"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, dict):
        return "<nil>" if isinstance(value, Nil) else _go_map(value)
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(go_string(item) for item in value) + "]"
    return str(value)


def _go_map(value: dict[str, Any]) -> str:
    fields = _STRUCT_FIELDS.get(frozenset(value))
    if fields is None and frozenset(value) == _BIND_MOUNT:
        fields = _STRUCTS[1]
    if fields is not None:
        return "{" + " ".join(go_string(value.get(field, "")) for field in fields) + "}"
    return "map[" + " ".join(f"{key}:{go_string(value[key])}" for key in sorted(value)) + "]"


def go_float(value: float) -> str:
    """%v of a float64: shortest, with an exponent from 1e+21 on."""
    if value == int(value) and abs(value) < 10**_DIGITS_OF_FLOAT:
        return str(int(value))
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if e:
        return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:]:0>2}"
    return text


def go_json(value: Any) -> str:
    """json.Marshal without HTML escapes."""
    if value is None or isinstance(value, (NullList, NullMap)):
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return json_string(value)
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_string(key)}:{go_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(go_json(item) for item in value) + "]"
    return str(value)


def json_string(text: str) -> str:
    """A JSON string with other scripts left readable, as Go writes it."""
    import _json

    encoded: str = _json.encode_basestring(text)
    return encoded.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def html_safe_json(text: str | None) -> str:
    """A string or null as json.Marshal writes it, with <, > and & escaped."""
    if text is None:
        return "null"
    encoded = json_string(text)
    return encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def go_quote(text: str) -> str:
    """%q."""
    return '"' + "".join(_quoted_char(char) for char in text) + '"'


_QUOTED = {
    "\\": "\\\\",
    '"': '\\"',
    "\n": "\\n",
    "\t": "\\t",
    "\r": "\\r",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
}


def _quoted_char(char: str) -> str:
    if char in _QUOTED:
        return _QUOTED[char]
    return char if char.isprintable() else f"\\x{ord(char):02x}" if ord(char) < 128 else f"\\u{ord(char):04x}"


def sprintf(form: str, arguments: list[Any]) -> str:
    """The verbs that templates need: v s q d t x X o b c U e f g T, with flags, width and precision."""
    parts: list[str] = []
    rest = list(arguments)
    position = 0
    while position < len(form):
        percent = form.find("%", position)
        if percent < 0:
            parts.append(form[position:])
            break
        parts.append(form[position:percent])
        end = percent + 1
        while end < len(form) and form[end] in "+-# 0123456789.":
            end += 1
        if end >= len(form):
            parts.append("%!(NOVERB)")
            break
        verb = form[end]
        if verb == "%":
            parts.append("%")
        elif not rest:
            parts.append(f"%!{verb}(MISSING)")
        else:
            parts.append(_verb(verb, form[percent + 1 : end], rest.pop(0)))
        position = end + 1
    if rest:
        extra = ", ".join(f"{_go_type(item)}={go_string(item)}" for item in rest)
        parts.append(f"%!(EXTRA {extra})")
    return "".join(parts)


def _go_type(value: Any) -> str:
    if value is True or value is False:
        return "bool"
    names: dict[type, str] = {str: "string", int: "int", float: "float64", list: "[]interface {}"}
    return names.get(type(value), "map[string]interface {}" if isinstance(value, dict) else "<nil>")


def _verb(verb: str, spec: str, value: Any) -> str:
    flags = spec[: len(spec) - len(spec.lstrip("+-# 0"))]
    width, _, precision = spec[len(flags) :].partition(".")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text: str
    if verb in "vs" and not (verb == "s" and number):
        text = go_string(value)
        text = text[: int(precision)] if precision and isinstance(value, str) else text
    elif verb == "q" and isinstance(value, str):
        text = go_quote(value)
    elif verb == "t" and isinstance(value, bool):
        text = go_string(value)
    elif verb in "xX" and isinstance(value, str):
        text = value.encode().hex()
        text = text.upper() if verb == "X" else text
    elif verb in "dxXobcU" and isinstance(value, int) and not isinstance(value, bool):
        text = (
            chr(value)
            if verb == "c"
            else f"U+{value:04X}"
            if verb == "U"
            else format(value, f"{'+' if '+' in flags else ''}{verb}")
        )
    elif verb in "efgEG" and number:
        text = format(float(value), f".{precision or 6}{verb}") if verb != "g" or precision else go_float(float(value))
    elif verb == "T":
        text = _go_type(value)
    else:
        text = f"%!{verb}({_go_type(value)}={go_string(value)})"
    if not width:
        return text
    if "-" in flags:
        return text.ljust(int(width))
    return text.zfill(int(width)) if "0" in flags and number else text.rjust(int(width))
