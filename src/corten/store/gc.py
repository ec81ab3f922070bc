"""The garbage collector's decision: what of that which is there does nothing lead to any more. Pure.

Tri-colour marking (Dijkstra and others, 1978): all is white; roots are grey; a grey node becomes black once what it
refers to is grey; when no grey is left, white is garbage. A node is a kind and a key, since one text may name several
things: the lowest chainID of an image is also the digest of that layer's plain tar.

    image      -> blobs (manifest, configuration, compressed layers, indexes, attestations), its topmost layer
    layer      -> the layer it stands on
    container  -> the layer its snapshot stands on
    lease      -> the blob and the layer of that key

Whoever deletes does so in the order that is returned, so that nothing ever refers to what is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Literal, NamedTuple

Kind = Literal["image", "layer", "container", "lease", "blob"]


class Node(NamedTuple):
    """Something that is stored, or that needs what is stored."""

    kind: Kind
    key: str


def unreachable(
    present: Collection[Node], roots: Iterable[Node], references: Callable[[Node], Iterable[Node]]
) -> list[Node]:
    """What of `present` no root leads to by `references`; each comes before what it refers to.

    A reference to what is not there leads nowhere. Of a circle, which nothing here makes, nothing is returned.
    """
    black = reachable(roots, references)
    white = [node for node in present if node not in black]
    waiting = dict.fromkeys(white, 0)  # how many of the others still refer to it
    for node in white:
        for target in references(node):
            if target in waiting:
                waiting[target] += 1
    ready = [node for node in white if not waiting[node]]
    ordered: list[Node] = []
    while ready:
        node = ready.pop()
        ordered.append(node)
        for target in references(node):
            if target in waiting:
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
    return ordered


def reachable(roots: Iterable[Node], references: Callable[[Node], Iterable[Node]]) -> set[Node]:
    """The black nodes: roots and all that they lead to."""
    black: set[Node] = set()
    grey = list(roots)
    while grey:
        node = grey.pop()
        if node not in black:
            black.add(node)
            grey.extend(references(node))
    return black
