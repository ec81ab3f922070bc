"""Tokens to a tree. Nodes are small tuples whose first item is their kind; `evaluate` walks them.

("text", str)                                  ("action", pipeline)
("if" | "with", pipeline, then, otherwise)     ("range", pipeline, names, then, otherwise)
("template", name, pipeline)                   ("break",) ("continue",)
pipeline: (names, declares, [command])         command: [operand]
operand:  ("dot",) ("field", names) ("variable", name, names) ("function", name) ("value", value) ("nil",)
          ("pipe", pipeline, names); each followed by its text, line and column for errors
"""

from __future__ import annotations

from corten.cli.template.functions import FUNCTIONS
from corten.cli.template.lexer import TemplateError, Token, tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Node = tuple["Any", ...]
_MAX_DEPTH = 100


class Template:
    """A parsed template: its nodes and those that `define` made."""

    __slots__ = ("defined", "nodes")

    def __init__(self, nodes: list[Node], defined: dict[str, list[Node]]) -> None:
        self.nodes = nodes
        self.defined = defined


def parse(source: str) -> Template:
    """Parse; raises TemplateError."""
    return _Parser(list(tokens(source))).template()


class _Parser:
    def __init__(self, items: list[list[Token]]) -> None:
        self._items = items
        self._position = 0
        self._defined: dict[str, list[Node]] = {}
        self._depth = 0
        self._line = 1

    def template(self) -> Template:
        """All of it."""
        nodes, end = self._nodes()
        if end is not None:
            raise self._error(f"unexpected {{{{{end}}}}}")
        return Template(nodes, self._defined)

    def _error(self, text: str) -> TemplateError:
        return TemplateError(f"template: :{self._line}: {text}")

    def _nodes(self) -> tuple[list[Node], str | None]:
        """Nodes up to `end` or `else`; the word is returned, and the else's action stays for the caller."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("nested too deeply")
        nodes: list[Node] = []
        while self._position < len(self._items):
            item = self._items[self._position]
            self._position += 1
            if item and item[0].kind == "text":
                nodes.append(("text", item[0].text))
                continue
            words = [token for token in item if token.kind != "space"]
            if not words:
                raise self._error("missing value for command")
            self._line = words[0].line
            first = words[0]
            if first.kind == "word" and first.text in ("end", "else"):
                self._depth -= 1
                if first.text == "else":
                    self._position -= 1
                return nodes, first.text
            node = self._keyword(first.text, item) if first.kind == "word" else None
            if node is None:
                node = ("action", self._pipeline(item))
            if node:
                nodes.append(node)
        self._depth -= 1
        return nodes, None

    def _keyword(self, word: str, item: list[Token]) -> Node | None:
        rest = item[[token.text for token in item].index(word) + 1 :]
        if word in ("if", "with"):
            pipeline = self._pipeline(rest, word)
            then, otherwise = self._branches(word)
            return (word, pipeline, then, otherwise)
        if word == "range":
            pipeline = self._pipeline(rest, word)
            then, otherwise = self._branches(word)
            return ("range", pipeline, pipeline[0], then, otherwise)
        if word in ("break", "continue"):
            return (word,)
        if word in ("template", "define", "block"):
            return self._definition(word, rest)
        return None

    def _definition(self, word: str, rest: list[Token]) -> Node:
        words = [token for token in rest if token.kind != "space"]
        if not words or words[0].kind != "string":
            raise self._error(f"unexpected token in {word} clause")
        name = str(words[0].value)
        argument = rest[rest.index(words[0]) + 1 :]
        pipeline = self._pipeline(argument) if len(words) > 1 else None
        if word != "template":
            nodes, end = self._nodes()
            if end != "end":
                raise self._error(f"unexpected EOF in {word}")
            self._defined[name] = nodes
        return () if word == "define" else ("template", name, pipeline)

    def _branches(self, word: str) -> tuple[list[Node], list[Node]]:
        then, end = self._nodes()
        otherwise: list[Node] = []
        if end == "else":
            item = self._items[self._position]
            self._position += 1
            words = [token for token in item if token.kind != "space"]
            if len(words) > 1:
                if words[1].text not in ("if", "with") or word == "range":
                    raise self._error(f"unexpected {words[1].text} in else")
                inner = self._keyword(words[1].text, item)
                return then, [inner] if inner else []
            otherwise, end = self._nodes()
        if end != "end":
            raise self._error("unexpected EOF" if end is None else f"unexpected {{{{{end}}}}}")
        return then, otherwise

    def _pipeline(self, item: list[Token], context: str = "command") -> Node:
        return _Pipeline(item, self._error, context).whole()


class _Pipeline:
    """The tokens of one action."""

    def __init__(self, item: list[Token], error: Any, context: str) -> None:
        self._tokens = item
        self._position = 0
        self._error = error
        self._context = context

    def whole(self) -> Node:
        node = self._pipe()
        self._skip()
        if self._peek() is not None:
            raise self._error(f"unexpected {self._tokens[self._position].text!r} in {self._context}")
        return node

    def _peek(self) -> Token | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _skip(self) -> None:
        while (token := self._peek()) is not None and token.kind == "space":
            self._position += 1

    def _pipe(self) -> Node:
        names, declares = self._declarations()
        commands: list[list[Node]] = []
        while True:
            operands = self._command()
            if not operands:
                raise self._error(f"missing value for {self._context}")
            commands.append(operands)
            token = self._peek()
            if token is None or token.text != "|" or token.kind != "symbol":
                return (names, declares, commands)
            self._position += 1

    def _declarations(self) -> tuple[list[str], bool]:
        """`$a, $b :=` or `$a =` at the beginning."""
        start, names = self._position, []
        while True:
            self._skip()
            token = self._peek()
            if token is None or token.kind != "variable":
                break
            names.append(token.text)
            self._position += 1
            self._skip()
            token = self._peek()
            if token is not None and token.kind == "symbol" and token.text in (":=", "="):
                self._position += 1
                return names, token.text == ":="
            if token is None or token.kind != "symbol" or token.text != ",":
                break
            self._position += 1
        self._position = start
        return [], False

    def _command(self) -> list[Node]:
        operands: list[Node] = []
        while True:
            self._skip()
            token = self._peek()
            if token is None or (token.kind == "symbol" and token.text in ("|", ")")):
                return operands
            operands.append(self._operand(token))

    def _operand(self, token: Token) -> Node:
        self._position += 1
        place = (token.line, token.column)
        if token.kind == "field":
            names = [str(token.value), *self._chain()]
            return ("field", names, "." + ".".join(names), *place)
        if token.kind == "variable":
            names = self._chain()
            return ("variable", token.text, names, ".".join([token.text, *names]), *place)
        if token.kind == "word":
            if token.text == "nil":
                return ("nil",)
            if token.text not in FUNCTIONS and token.text not in ("and", "or"):
                raise self._error(f'function "{token.text}" not defined')
            return ("function", token.text, token.text, *place)
        if token.kind in ("string", "number", "bool"):
            return ("value", token.value)
        if token.text == ".":
            return ("dot",)
        if token.text == "(":
            inner = self._pipe()
            self._skip()
            close = self._peek()
            if close is None or close.text != ")":
                raise self._error("unclosed left paren")
            self._position += 1
            return ("pipe", inner, self._chain(), "", *place)
        raise self._error(f"unexpected {token.text!r} in operand")

    def _chain(self) -> list[str]:
        names = []
        while (token := self._peek()) is not None and token.kind == "field":
            names.append(str(token.value))
            self._position += 1
        return names
