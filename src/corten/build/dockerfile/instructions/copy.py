"""COPY: files of the build context, of another stage or of an image, or written in place. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, Places
from corten.build.dockerfile.instructions import sources
from corten.build.dockerfile.instructions.sources import Transfer
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.graph import Vertex
from corten.build.location import redacted
from corten.build.operations import Copy as CopyOperation
from corten.build.operations import InlineFiles, LinkedCopy, Merge, Scratch, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Instruction):
    """`from_` is a stage's name or number, a named context or an image; empty is the build context."""

    keyword = "COPY"
    transfer: Transfer
    from_: str = ""

    @classmethod
    def parse(cls, node: Node) -> Self:
        """`[options] source... destination`, or the same as a JSON array."""
        flags = Flags(node, texts=(*sources.TEXTS, "from"), switches=sources.SWITCHES, lists=sources.LISTS)
        return cls(node=node, transfer=sources.parse_transfer(node, flags), from_=flags.text("from"))

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the files come from."""
        return (self.from_,) if self.from_ else ()

    def expand(self, expansion: Expansion) -> Self:
        """All but `--from` has variables: that decides which stages are built."""
        return replace(self, transfer=sources.expanded_transfer(self.transfer, expansion))

    def created_by(self, state: StageState) -> str:
        """`COPY --chown=1 a /b # buildkit`."""
        return " ".join([self.keyword, *sources.history_words(self.transfer), "# buildkit"])

    def lower(self, root: Vertex, state: StageState, places: Places) -> Vertex:
        """Files are copied onto `root`."""
        inputs, found = [root], []
        if self.transfer.paths:
            inputs.append(places.find(self.from_))
            found += [Source(path=path) for path in self.transfer.paths]
        if self.transfer.files:
            inline = InlineFiles(files=self.transfer.files)
            inputs.append(Vertex(inline, name=self.node.text, lines=self.node.lines))
            found += [Source(input=len(inputs) - 1, path=name) for name, _content in self.transfer.files]
        return copied(self, self.transfer, found, inputs, state)


def copied(
    instruction: Instruction, transfer: Transfer, found: list[Source], inputs: list[Vertex], state: StageState
) -> Vertex:
    """The vertex that copies `found` of `inputs` to where the transfer says.

    With `--link` the layer is made without what it goes upon. Where it depends on that, as with names in `--chown`, it
    is a copy like any other; `--chmod` goes with these, as BuildKit has it.
    """
    root = inputs[0]
    name, lines = redacted(instruction.node.text), instruction.node.lines
    is_apart = transfer.is_link and not transfer.mode and not transfer.owner.strip("0123456789:")
    if is_apart:
        inputs = [Vertex(Scratch()), *inputs[1:]]
    operation = (LinkedCopy if is_apart else CopyOperation)(
        sources=tuple(found),
        destination=transfer.destination_from(state.working_dir),
        owner=transfer.owner,
        mode=transfer.mode,
        excludes=transfer.excludes,
        parents=transfer.keeps_parents,
        link=transfer.is_link,
    )
    copy = Vertex(operation, tuple(inputs), name=name, lines=lines)
    return Vertex(Merge(), (root, copy), name=name, lines=lines) if is_apart else copy
