"""From bytes to nodes: one a logical line, with its keyword, flags, arguments and here-documents. Pure; daemon.

A node knows where it stands and what was written, and nothing of what its instruction means: `instructions` does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from corten.build.dockerfile.directives import Directives
from corten.build.dockerfile.error import Lines, ParseError
from corten.build.dockerfile.heredoc import Heredoc, heredocs_of
from corten.build.dockerfile.lexer import Cursor, Lexer, LogicalLine
from corten.build.dockerfile.words import json_strings, split_first, split_flags

INSTRUCTIONS_LIMIT = 5000
_WITH_HEREDOCS = {"ADD", "COPY", "RUN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One instruction as written. `text` is its line with the continuations joined, `keyword` is in its own casing."""

    keyword: str
    flags: tuple[str, ...] = ()
    arguments: str = ""
    text: str = ""
    lines: Lines = (0, 0)
    comments: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    escape: str = "\\"
    empty_continuation: bool = False

    @property
    def name(self) -> str:
        """The keyword in upper case."""
        return self.keyword.upper()

    def error(self, reason: str) -> ParseError:
        """An error about this instruction."""
        return ParseError(reason, lines=self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A parsed Dockerfile: its directives, nodes and physical lines."""

    directives: Directives
    nodes: tuple[Node, ...]
    lines: tuple[str, ...]


def parse_source(data: bytes) -> Source:
    """The nodes of a Dockerfile. Raises ParseError, and nothing else for any bytes whatever."""
    lexer = Lexer(data)
    nodes: list[Node] = []
    while (line := lexer.next()) is not None:
        if len(nodes) == INSTRUCTIONS_LIMIT:
            raise ParseError(f"more than {INSTRUCTIONS_LIMIT} instructions", lines=(line.first, line.last))
        nodes.append(_with_heredocs(_node(line, lexer.directives.escape), lexer.cursor))
    if not nodes:
        raise ParseError("file with no instructions")
    return Source(directives=lexer.directives, nodes=tuple(nodes), lines=tuple(lexer.lines))


def parse_trigger(text: str, *, escape: str = "\\", lines: Lines = (0, 0)) -> Node:
    """The node of an ONBUILD trigger, whose here-documents follow its first line. Raises ParseError."""
    first, _, rest = text.partition("\n")
    node = node_of(first, escape=escape, lines=lines)
    if not rest:
        return node
    return replace(_with_heredocs(node, Cursor(rest.split("\n"))), lines=lines)


def node_of(text: str, *, escape: str, lines: Lines) -> Node:
    """The node of one logical line. Raises ParseError for a NUL character, which no path or argument can have."""
    if "\0" in text:
        raise ParseError("a NUL character stands in an instruction", lines=lines)
    keyword, rest = split_first(text)
    flags, arguments = split_flags(rest)
    return Node(
        keyword=keyword,
        flags=tuple(flags),
        arguments=arguments.strip(),
        text=text.strip(),
        lines=lines,
        escape=escape,
    )


def _node(line: LogicalLine, escape: str) -> Node:
    if not line.text.strip():  # a continuation of nothing
        raise ParseError("unknown instruction: ", lines=(line.first, line.last))
    node = node_of(line.text, escape=escape, lines=(line.first, line.last))
    return replace(node, comments=line.comments, settings=line.settings, empty_continuation=line.empty_continuation)


def _with_heredocs(node: Node, cursor: Cursor) -> Node:
    inner = node_of(node.arguments, escape=node.escape, lines=node.lines) if _is_trigger(node) else node
    if inner.name not in _WITH_HEREDOCS or "<<" not in node.text:
        return node
    try:
        if json_strings(inner.arguments) is not None:
            return node
        announced = heredocs_of(node.text)
    except ValueError as error:
        raise node.error(str(error)) from error
    found = []
    for heredoc in announced:
        content = cursor.read_heredoc(heredoc.name, strip_tabs=heredoc.strips_tabs)
        if content is None:
            raise ParseError("unterminated heredoc", lines=(node.lines[0], cursor.line_number))
        found.append(replace(heredoc, content=content))
    return replace(node, heredocs=tuple(found), lines=(node.lines[0], max(cursor.line_number, node.lines[1])))


def _is_trigger(node: Node) -> bool:
    return node.name == "ONBUILD" and bool(node.arguments)
