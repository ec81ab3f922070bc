"""Text with actions to tokens. Source of the grammar: the documentation of Go's text/template package."""

from __future__ import annotations

from corten.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = " \t\r\n"
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class TemplateError(InvalidArgument):
    """The template cannot be parsed or executed."""

    code = "template"


class Token:
    """`kind` is text, field, variable, word, string, number, bool, char, symbol or end (of an action)."""

    __slots__ = ("column", "kind", "line", "text", "value")

    def __init__(self, kind: str, text: str, value: object, line: int, column: int) -> None:
        self.kind = kind
        self.text = text
        self.value = value
        self.line = line
        self.column = column


def tokens(source: str) -> Iterator[list[Token]]:
    """Yield plain text as a list of one `text` token, and each action as the list of its tokens."""
    position = 0
    trim_next = False
    while position < len(source):
        start = source.find("{{", position)
        text = source[position:] if start < 0 else source[position:start]
        if trim_next:
            text = text.lstrip(_SPACE)
        trim_next = False
        if start < 0:
            if text:
                yield [_token("text", text, source, position)]
            return
        inner = start + 2
        if source[inner : inner + 1] == "-" and source[inner + 1 : inner + 2] in tuple(_SPACE):
            text = text.rstrip(_SPACE)
            inner += 2
        if text:
            yield [_token("text", text, source, position)]
        action, position, trim_next = _action(source, inner)
        if action is not None:
            yield action


def _action(source: str, position: int) -> tuple[list[Token] | None, int, bool]:
    """Tokens up to the closing braces; None for a comment."""
    rest = source[position:].lstrip(_SPACE)
    if rest.startswith("/*"):
        end = source.find("*/", position)
        close = source.find("}}", end)
        if end < 0 or close < 0:
            raise _error(source, position, "unclosed comment")
        return None, close + 2, source[end + 2 : close].strip(_SPACE) == "-"
    found: list[Token] = []
    while True:
        if position >= len(source):
            raise _error(source, position, "unclosed action")
        char = source[position]
        if source.startswith("}}", position):
            return found, position + 2, False
        if char in _SPACE:
            if source[position + 1 : position + 4] == "-}}":
                return found, position + 4, True
            if not found or found[-1].kind != "space":
                found.append(_token("space", " ", source, position))
            position += 1
            continue
        token, position = _one(source, position)
        found.append(token)


def _one(source: str, position: int) -> tuple[Token, int]:  # noqa: C901 - a list of cases, flat on purpose
    char = source[position]
    if char in "\"'":
        return _quoted(source, position, char)
    if char == "`":
        end = source.find("`", position + 1)
        if end < 0:
            raise _error(source, position, "unterminated raw quoted string")
        return _token("string", source[position : end + 1], source, position, source[position + 1 : end]), end + 1
    if char == "." and source[position + 1 : position + 2] not in _WORD:
        return _token("symbol", ".", source, position), position + 1
    if char == "." and not source[position + 1].isdigit():
        end = _word_end(source, position + 1)
        return _token("field", source[position:end], source, position, source[position + 1 : end]), end
    if char == "$":
        end = _word_end(source, position + 1)
        return _token("variable", source[position:end], source, position), end
    if char.isdigit() or char == "." or (char in "+-" and source[position + 1 : position + 2].isdigit()):
        return _number(source, position)
    if char in _WORD:
        end = _word_end(source, position)
        word = source[position:end]
        if word in ("true", "false"):
            return _token("bool", word, source, position, word == "true"), end
        return _token("word", word, source, position), end
    if source.startswith(":=", position):
        return _token("symbol", ":=", source, position), position + 2
    if char in "()|,=":
        return _token("symbol", char, source, position), position + 1
    raise _error(source, position, f"unexpected {char!r} in command")


def _quoted(source: str, position: int, quote: str) -> tuple[Token, int]:
    value = ""
    end = position + 1
    while True:
        if end >= len(source) or source[end] == "\n":
            raise _error(source, position, "unterminated quoted string")
        char = source[end]
        if char == quote:
            break
        if char == "\\":
            text, end = _escape(source, end + 1)
            value += text
            continue
        value += char
        end += 1
    text = source[position : end + 1]
    if quote == "'":
        return _token("number", text, source, position, ord(value[:1] or "\0")), end + 1
    return _token("string", text, source, position, value), end + 1


def _escape(source: str, position: int) -> tuple[str, int]:
    char = source[position : position + 1]
    if char in ("x", "u", "U"):
        width = {"x": 2, "u": 4, "U": 8}[char]
        digits = source[position + 1 : position + 1 + width]
        try:
            return chr(int(digits, 16)), position + 1 + width
        except (ValueError, OverflowError):
            raise _error(source, position, "invalid escape") from None
    return _ESCAPES.get(char, char), position + 1


def _number(source: str, position: int) -> tuple[Token, int]:
    end = position + 1
    while end < len(source) and (source[end] in _WORD or source[end] in ".+-"):
        if source[end] in "+-" and source[end - 1] not in "eE":
            break
        end += 1
    text = source[position:end]
    try:
        value: int | float = int(text, 0)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            raise _error(source, position, f'bad number syntax: "{text}"') from None
    return _token("number", text, source, position, value), end


def _word_end(source: str, position: int) -> int:
    while position < len(source) and (source[position] in _WORD or source[position].isalpha()):
        position += 1
    return position


def _token(kind: str, text: str, source: str, position: int, value: object = None) -> Token:
    line = source.count("\n", 0, position) + 1
    column = position - (source.rfind("\n", 0, position) + 1)
    return Token(kind, text, text if value is None else value, line, column)


def _error(source: str, position: int, text: str) -> TemplateError:
    return TemplateError(f"template: :{source.count(chr(10), 0, position) + 1}: {text}")
