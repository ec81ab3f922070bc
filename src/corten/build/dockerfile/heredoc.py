"""Here-documents of RUN, COPY and ADD: `<<NAME`, `<<-NAME`, `3<<"NAME"`. Pure; daemon.

A quoted name keeps variables in the content as they are; `<<-` takes away the tabs that begin each line. Source:
"Here-Documents" of the Dockerfile reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from corten.build.dockerfile.expansion import Expansion, Quoting
from corten.build.dockerfile.words import quoted

_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]+)\Z")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_AS_WRITTEN = Quoting(keep_quotes=True, keep_escapes=True, keep_unset=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """One here-document. `content` is as it stands in the file, tabs included."""

    name: str
    descriptor: int = 0
    strips_tabs: bool = False
    expands: bool = True
    content: str = ""

    @property
    def text(self) -> str:
        """The content that the instruction gets, before variables."""
        return _LEADING_TABS.sub("", self.content) if self.strips_tabs else self.content


def heredocs_of(line: str) -> list[Heredoc]:
    """The here-documents that an instruction's line announces, without contents. Raises ExpansionError."""
    if "<<" not in line:
        return []
    try:
        words = Expansion({}, quoting=_AS_WRITTEN).words(line)
    except ValueError:
        return []  # quotes that do not end: the instruction itself will say so
    return [heredoc for word in words if (heredoc := parse_heredoc(word)) is not None]


def parse_heredoc(word: str) -> Heredoc | None:
    """The here-document that `word` is; None when it is none. Raises ExpansionError."""
    match = _HEREDOC.match(word)
    if match is None:
        return None
    descriptor, dash, rest = match.groups()
    names = Expansion({}, quoting=Quoting(keep_unset=True)).words(rest)
    if len(names) != 1:
        return None
    raw = Expansion({}, quoting=Quoting(keep_quotes=True, keep_unset=True)).word(rest)
    name = names[0]
    return Heredoc(
        name=name,
        descriptor=int(descriptor[:9] or 0),
        strips_tabs=bool(dash),
        expands=_quotes(raw) == _quotes(name),
    )


def check_file_name(heredoc: Heredoc) -> None:
    """Raise ValueError for a here-document that is to be a file and is called as a path."""
    if "/" in heredoc.name or heredoc.name in (".", ".."):
        raise ValueError(f"the heredoc {quoted(heredoc.name)} is to be a file, and cannot be called so")


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')
