"""The inputs of a vertex as trees to be read: file systems mounted for the while, or what came with the request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import Context, InlineFiles, Operation
from corten.build.ops.store import LayerStore
from corten.build.trees.inline import InlineTree
from corten.build.trees.tree import EmptyTree, Tree


class Inputs:
    """Opens inputs for one build; `contexts` are the request's, by name."""

    def __init__(self, *, store: LayerStore, contexts: Mapping[str, Tree]) -> None:
        self._store = store
        self._contexts = contexts

    @contextmanager
    def open(self, vertex: Vertex, results: Sequence[FileSystem | None]) -> Iterator[list[Tree]]:
        """The trees, in order, as long as the block. Blocking. Raises OSError."""
        with ExitStack() as closing:
            yield [
                self._local(below.operation) if result is None else closing.enter_context(self._store.tree(result))
                for below, result in zip(vertex.inputs, results, strict=True)
            ]

    def _local(self, operation: Operation) -> Tree:
        if isinstance(operation, InlineFiles):
            return InlineTree(operation.files, operation.mode, self._store.now_ns())
        if isinstance(operation, Context):
            return self._contexts[operation.name]
        return EmptyTree()  # what a digest does not look at: the file system that is copied to
