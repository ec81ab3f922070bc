"""How an instruction's arguments are split: JSON arrays, name=value pairs, words, flags. Pure; daemon.

What is split here is not expanded: quotes and escapes stay in the words, for `expansion` to take away. Only flags lose
theirs here. Errors are raised as ValueError with Docker's texts; the parser adds the line.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

_BLANK = re.compile(r"[\t\v\f\r ]+")
_BLANKS = " \t\v\f\r"
_NOT_STRINGS = "when using JSON array syntax, arrays must be comprised of strings only"


def _no_constants(name: str) -> NoReturn:
    raise ValueError(name)


_JSON = json.JSONDecoder(parse_constant=_no_constants)


def json_strings(text: str) -> list[str] | None:
    """The strings of a JSON array at the start of `text`; None when it begins with none.

    What is no JSON is a shell's line; what follows the array is passed over. Raises ValueError for an array of other
    things than strings.
    """
    text = text.lstrip(_BLANKS)
    if not text.startswith("["):
        return None
    try:
        value, _end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in value):
        raise ValueError(_NOT_STRINGS)
    if any("\0" in item for item in value):
        raise ValueError("a NUL character stands in a JSON array")
    return [item.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for item in value]


def split_blanks(text: str) -> list[str]:
    """The words between blanks; quotes mean nothing."""
    return [word for word in _BLANK.split(text) if word]


def split_first(text: str) -> tuple[str, str]:
    """The first word, and what follows it without blanks around."""
    parts = _BLANK.split(text.strip(), maxsplit=1)
    return parts[0], parts[1].strip() if len(parts) == 2 else ""


def split_quoted(text: str, escape: str) -> list[str]:
    """The words between blanks that are neither quoted nor escaped; quotes and escapes stay."""
    words: list[str] = []
    word, quote, is_started = "", "", False
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if not quote and char.isspace():
            if is_started:
                words.append(word)
            word, is_started = "", False
            continue
        is_started = True
        word += char
        if char == escape and quote != "'":
            word += text[position : position + 1]
            position += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
    return [*words, word] if is_started else words


def split_pairs(keyword: str, text: str, escape: str) -> tuple[list[tuple[str, str]], bool]:
    """The name=value pairs of ENV and LABEL, and whether they were in the old form `name value`."""
    words = split_quoted(text, escape)
    if not words:
        return [], False
    if "=" not in words[0]:
        parts = _BLANK.split(text, maxsplit=1)
        if len(parts) < 2:
            raise ValueError(f"{keyword} must have two arguments")
        return [(parts[0], parts[1])], True
    pairs = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value")
        pairs.append((name, value))
    return pairs, False


def split_flags(text: str) -> tuple[list[str], str]:
    """The `--flags` that begin the arguments, without quotes and escapes, and the rest of them."""
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        start = position
        if not text.startswith("--", start):
            return flags, text[start:]
        word, position = _flag(text, start)
        if word == "--":
            return flags, text[position:].lstrip()
        flags.append(word)


def _flag(text: str, position: int) -> tuple[str, int]:
    word, quote = "", ""
    while position < len(text):
        char = text[position]
        if not quote and char.isspace():
            break
        position += 1
        if char == "\\":
            word += text[position : position + 1]
            position += 1
        elif quote:
            quote, word = ("", word) if char == quote else (quote, word + char)
        elif char in "'\"":
            quote = char
        else:
            word += char
    return word, position


def quoted(text: str) -> str:
    """`text` as Go's %q prints it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")


def quoted_list(words: list[str] | tuple[str, ...]) -> str:
    """A list as Go's %q prints it: `["a" "b"]`."""
    return "[" + " ".join(quoted(word) for word in words) + "]"


def plain_list(words: list[str] | tuple[str, ...]) -> str:
    """A list as Go's %v prints it: `[a b]`."""
    return "[" + " ".join(words) + "]"
