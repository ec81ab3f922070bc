"""Variables and quotes in a Dockerfile's words, as a shell would take them, without a shell. Pure; daemon.

    $V ${V}                       the value, nothing when unset
    ${V:-w} ${V-w}                w when unset (with the colon: or empty)
    ${V:+w} ${V+w}                w when set (with the colon: and not empty), else nothing
    ${V:?e} ${V?e}                an error that says e when unset (with the colon: or empty)
    ${V#p} ${V##p} ${V%p} ${V%%p} without the shortest or longest prefix or suffix that matches p
    ${V/p/r} ${V//p/r}            with the first or every match of p replaced by r

Single quotes keep everything, double quotes all but $ and escapes; the escape character takes the meaning of what
follows, but within double quotes only of `"`, `$` and itself. Errors are ExpansionError with Docker's texts. Source:
"Environment replacement" of the Dockerfile reference; tests/unit/build/recorded holds what Docker 26 makes of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from corten.build.dockerfile.shell_pattern import SIZE_LIMIT, ShellPattern
from corten.build.dockerfile.words import quoted

_SPECIAL = "@*#?-$!0"
_MODIFIERS = "+-?#%"
_DEPTH_LIMIT = 50
_END = "\ufffd"  # what Docker shows of the end of a text
_MISSING_BRACE = "syntax error: missing '}'"


class ExpansionError(ValueError):
    """A word that cannot be expanded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoting:
    """What is left in the words beside expanding variables. The default takes quotes and escapes away."""

    keep_quotes: bool = False
    keep_escapes: bool = False
    ignore_quotes: bool = False
    keep_unset: bool = False


@dataclass(slots=True)
class Expansion:
    """Variables to expand words with; `unset` gathers the names that were asked for in vain."""

    variables: Mapping[str, str]
    escape: str = "\\"
    quoting: Quoting = Quoting()
    unset: set[str] = field(default_factory=set)

    def word(self, text: str) -> str:
        """`text` expanded, as one word whatever blanks it has. Raises ExpansionError."""
        return self._run(text)[0]

    def words(self, text: str) -> list[str]:
        """`text` expanded and split at the blanks that are not quoted, those of values too. Raises ExpansionError."""
        return self._run(text)[1]

    def _run(self, text: str) -> tuple[str, list[str]]:
        try:
            return _Scanner(text, self).until("")
        except ExpansionError as error:
            raise ExpansionError(f"failed to process {quoted(text)}: {error}") from error


class _Words:
    """Characters as they come, kept as one text and as words."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.words: list[str] = []
        self._word: list[str] = []

    def add(self, char: str) -> None:
        self.text.append(char)
        if not char.isspace():
            self._word.append(char)
        elif self._word:
            self._finish()

    def add_quoted(self, text: str) -> None:
        self.text.append(text)
        self._word.append(text)

    def _finish(self) -> None:
        if word := "".join(self._word):
            self.words.append(word)
        self._word.clear()

    def result(self) -> tuple[str, list[str]]:
        self._finish()
        return "".join(self.text), self.words


class _Scanner:
    def __init__(self, text: str, expansion: Expansion) -> None:
        self._text = text
        self._position = 0
        self._depth = self._size = 0
        self._expansion = expansion
        self._escape = expansion.escape
        self._quoting = expansion.quoting
        self._keep_escapes = expansion.quoting.keep_escapes

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        char = self._peek()
        self._position += 1
        return char

    def until(self, stop: str) -> tuple[str, list[str]]:
        """All up to the character `stop` (taken, not returned), or to the end when it is empty."""
        words = _Words()
        while char := self._peek():
            if char == stop:
                self._position += 1
                return words.result()
            if char == "$":
                for part in self._dollar():
                    words.add(part)
            elif char in "'\"" and not self._quoting.ignore_quotes:
                words.add_quoted(self._single_quoted() if char == "'" else self._double_quoted())
            else:
                self._plain(words)
        if stop:
            raise ExpansionError(f"unexpected end of statement while looking for matching {stop}")
        return words.result()

    def _plain(self, words: _Words) -> None:
        char = self._next()
        if char != self._escape:
            words.add(char)
            return
        if self._keep_escapes:
            words.add_quoted(char)
        if following := self._next():
            words.add_quoted(following)

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._position + 1)
        if end < 0:
            self._position = len(self._text)
            raise ExpansionError("unexpected end of statement while looking for matching single-quote")
        inner = self._text[self._position + 1 : end]
        self._position = end + 1
        return f"'{inner}'" if self._quoting.keep_quotes else inner

    def _double_quoted(self) -> str:
        quote = self._next()
        result = [quote] if self._quoting.keep_quotes else []
        while True:
            char = self._peek()
            if not char:
                raise ExpansionError("unexpected end of statement while looking for matching double-quote")
            if char == "$":
                result.append(self._dollar())
                continue
            self._position += 1
            if char == '"':
                return "".join([*result, char] if self._quoting.keep_quotes else result)
            if char == self._escape:
                if self._keep_escapes:
                    result.append(char)
                following = self._peek()
                if not following:
                    continue
                if following in ('"', "$", self._escape):
                    char = self._next()
            result.append(char)

    def _dollar(self) -> str:
        self._position += 1
        if self._peek() == "{":
            self._position += 1
            self._depth += 1
            if self._depth > _DEPTH_LIMIT:
                raise ExpansionError(f"substitutions are nested more than {_DEPTH_LIMIT} deep")
            result = self._braced()
            self._depth -= 1
        elif name := self._name():
            value = self._value(name)
            result = value if value is not None else f"${name}" if self._quoting.keep_unset else ""
        else:
            result = "$"
        self._size += len(result)
        if self._size > SIZE_LIMIT:
            raise ExpansionError(f"the result is larger than the limit of {SIZE_LIMIT} characters")
        return result

    def _braced(self) -> str:
        following = self._peek()
        if not following:
            raise ExpansionError(_MISSING_BRACE)
        if following in "{}:":
            raise ExpansionError("syntax error: bad substitution")
        name = self._name()
        modifier = self._next()
        if modifier == "}":
            value = self._value(name)
            return value if value is not None else f"${{{name}}}" if self._quoting.keep_unset else ""
        if modifier == "/":
            return self._replaced(name)
        colon = modifier == ":"
        if colon:
            modifier = self._next()
        elif not modifier or modifier not in _MODIFIERS:
            raise ExpansionError(f"unsupported modifier ({modifier or _END}) in substitution")
        word = self._operand("}", keep_escapes=modifier in ("#", "%"), missing=_MISSING_BRACE)
        value = self._value(name)
        if value is None and self._quoting.keep_unset:
            return f"${{{name}{':' if colon else ''}{modifier}{word}}}"
        apply = _APPLY.get(modifier)
        if apply is None:
            raise ExpansionError(f"unsupported modifier ({':' if colon else ''}{modifier}) in substitution")
        return apply(name, value, word, colon)

    def _operand(self, stop: str, *, keep_escapes: bool, missing: str) -> str:
        before, self._keep_escapes = self._keep_escapes, keep_escapes
        try:
            return self.until(stop)[0]
        except ExpansionError as error:
            if not self._peek():
                raise ExpansionError(missing) from error
            raise
        finally:
            self._keep_escapes = before

    def _replaced(self, name: str) -> str:
        every = self._peek() == "/"
        self._position += every
        pattern = self._operand("/", keep_escapes=True, missing="syntax error: missing '/' in ${}")
        text = self._operand("}", keep_escapes=True, missing=_MISSING_BRACE)
        value = self._value(name)
        if value is None and self._quoting.keep_unset:
            return f"${{{name}/{pattern}/{text}}}"
        try:
            return ShellPattern(pattern).replace(value or "", text, every=every)
        except ValueError as error:
            raise ExpansionError(f"invalid pattern ({pattern}) in substitution: {error}") from error

    def _name(self) -> str:
        start = self._position
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._position += 1
        elif first and first in _SPECIAL:
            self._position += 1
        else:
            while (char := self._peek()) and (char.isalpha() or char.isdecimal() or char == "_"):
                self._position += 1
        return self._text[start : self._position]

    def _value(self, name: str) -> str | None:
        value = self._expansion.variables.get(name)
        if value is None:
            self._expansion.unset.add(name)
        return value


def _or_default(_name: str, value: str | None, word: str, colon: bool) -> str:
    return word if value is None or (colon and not value) else value


def _alternative(_name: str, value: str | None, word: str, colon: bool) -> str:
    return "" if value is None or (colon and not value) else word


def _required(name: str, value: str | None, word: str, colon: bool) -> str:
    if value is None:
        raise ExpansionError(f"{name}: {word or 'is not allowed to be unset'}")
    if colon and not value:
        raise ExpansionError(f"{name}: {word or 'is not allowed to be empty'}")
    return value


def _without_prefix(_name: str, value: str | None, word: str, _colon: bool) -> str:
    value = value or ""
    end = _match(value, word, "#", is_reversed=False)
    return value[end:]


def _without_suffix(_name: str, value: str | None, word: str, _colon: bool) -> str:
    value = value or ""
    end = _match(value[::-1], word, "%", is_reversed=True)
    return value[: len(value) - end]


def _match(value: str, word: str, sign: str, *, is_reversed: bool) -> int:
    longest = word.startswith(sign)
    pattern = word[1:] if longest else word
    try:
        return ShellPattern(pattern, is_reversed=is_reversed).prefix(value, longest=longest) or 0
    except ValueError as error:
        raise ExpansionError(f"invalid pattern ({pattern}) in substitution: {error}") from error


_APPLY: dict[str, Callable[[str, str | None, str, bool], str]] = {
    "-": _or_default,
    "+": _alternative,
    "?": _required,
    "#": _without_prefix,
    "%": _without_suffix,
}
