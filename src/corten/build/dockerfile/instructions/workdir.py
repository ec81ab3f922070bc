"""WORKDIR: where RUN, COPY, ADD, CMD and ENTRYPOINT begin; it is made where it is missing. Pure; daemon."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.instruction import Instruction, Places, one_argument
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.graph import Vertex
from corten.build.operations import MakeDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    """A path; a relative one goes on from the last WORKDIR."""

    keyword = "WORKDIR"
    path: str

    @classmethod
    def parse(cls, node: Node) -> Self:
        """The rest of the line, blanks included."""
        Flags(node)
        return cls(node=node, path=one_argument(node))

    def expand(self, expansion: Expansion) -> Self:
        """It has variables."""
        return replace(self, path=expansion.word(self.path))

    def _joined(self, state: StageState) -> str:
        return absolute_path(self.path, state.working_dir)

    def apply(self, state: StageState) -> StageState:
        """The image keeps the absolute path."""
        return state.with_config(working_dir=self._joined(state))

    def created_by(self, state: StageState) -> str:
        """`WORKDIR /path`, absolute."""
        return f"{self.keyword} {self._joined(state)}"

    def lower(self, root: Vertex, state: StageState, places: Places) -> Vertex:
        """A directory is made, unless it is the root."""
        if state.working_dir == "/":
            return root
        return Vertex(MakeDirectory(path=state.working_dir), (root,), name=self.node.text, lines=self.node.lines)


def absolute_path(path: str, working_dir: str) -> str:
    """`path` from the root, normalised; a relative one begins at `working_dir`."""
    return "/" + posixpath.normpath(posixpath.join("/", working_dir, path)).lstrip("/")
