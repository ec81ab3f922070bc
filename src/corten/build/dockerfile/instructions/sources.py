"""What COPY and ADD have in common: sources, a destination, and how files arrive there. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace

from corten.build.dockerfile.expansion import Expansion, Quoting
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.heredoc import Heredoc, check_file_name, parse_heredoc
from corten.build.dockerfile.instruction import strings_of
from corten.build.dockerfile.instructions.workdir import absolute_path
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.words import split_blanks

TEXTS = ("chown", "chmod")
SWITCHES = ("link", "parents")
LISTS = ("exclude",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Sources in their order, here-documents among them, and the destination as written; `owner` is `--chown`,
    `mode` is `--chmod`."""

    sources: tuple[str | Heredoc, ...]
    destination: str
    owner: str = ""
    mode: str = ""
    is_link: bool = False
    keeps_parents: bool = False
    excludes: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """The sources that are no here-documents."""
        return tuple(source for source in self.sources if isinstance(source, str))

    @property
    def files(self) -> tuple[tuple[str, bytes], ...]:
        """The here-documents, by name, with their contents."""
        return tuple((source.name, source.text.encode()) for source in self.sources if isinstance(source, Heredoc))

    def destination_from(self, working_dir: str) -> str:
        """Absolute, with a slash at the end where it means a directory."""
        path = absolute_path(self.destination, working_dir)
        is_directory = self.destination.endswith("/") or self.destination.rpartition("/")[2] in ("", ".", "..")
        return path + "/" if is_directory and path != "/" else path


def parse_transfer(node: Node, flags: Flags) -> Transfer:
    """Sources and destination, in JSON or words. Raises ParseError."""
    words = strings_of(node, node.arguments)
    words = split_blanks(node.arguments) if words is None else words
    if len(words) < 2:
        raise node.error(
            f"{node.name} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    *sources, destination = words
    try:
        if node.heredocs and parse_heredoc(destination) is not None:
            raise node.error(f"{node.name} cannot accept a heredoc as a destination")
        contents = {heredoc.name: heredoc for heredoc in node.heredocs}
        found = [_source(word, contents) for word in sources]
    except ValueError as error:
        raise node.error(str(error)) from error
    return Transfer(
        sources=tuple(found),
        destination=destination,
        owner=flags.text("chown"),
        mode=flags.text("chmod"),
        is_link=flags.switch("link"),
        keeps_parents=flags.switch("parents"),
        excludes=flags.list_("exclude"),
    )


def _source(word: str, contents: dict[str, Heredoc]) -> str | Heredoc:
    heredoc = parse_heredoc(word) if contents else None
    if heredoc is None:
        return word
    check_file_name(heredoc)
    return contents.get(heredoc.name, word)


def expanded_transfer(transfer: Transfer, expansion: Expansion) -> Transfer:
    """With variables in paths, owner, mode, patterns, and in here-documents whose name is not quoted."""
    inline = replace(expansion, quoting=Quoting(ignore_quotes=True))
    return replace(
        transfer,
        sources=tuple(
            expansion.word(source) if isinstance(source, str) else _expanded_heredoc(source, inline)
            for source in transfer.sources
        ),
        destination=expansion.word(transfer.destination),
        owner=expansion.word(transfer.owner),
        mode=expansion.word(transfer.mode),
        excludes=tuple(expansion.word(pattern) for pattern in transfer.excludes),
    )


def _expanded_heredoc(heredoc: Heredoc, expansion: Expansion) -> Heredoc:
    if not heredoc.expands:
        return heredoc
    return replace(heredoc, content=expansion.word(heredoc.text), strips_tabs=False)


def history_words(transfer: Transfer) -> list[str]:
    """Owner, mode, sources and destination as the history shows them: those of files before here-documents."""
    owner = [f"--chown={transfer.owner}"] if transfer.owner else []
    mode = [f"--chmod={transfer.mode}"] if transfer.mode else []
    inline = [f"<<{name}" for name, _content in transfer.files]
    return [*owner, *mode, *transfer.paths, *inline, transfer.destination]
