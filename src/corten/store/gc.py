"""Mark and sweep: which of what is there nothing needs any more. Pure.

Whoever deletes must know all roots, and that nothing new is on its way: the daemon does it once, before it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

Key = TypeVar("Key")


def unreachable(
    present: Collection[Key], roots: Iterable[Key], references: Callable[[Key], Iterable[Key]] = lambda _key: ()
) -> list[Key]:
    """What of `present` no root leads to by `references`; each comes before what it refers to.

    A reference to what is not there leads nowhere; a circle, which nothing here makes, is not followed twice.
    """
    marked: set[Key] = set()
    pending = list(roots)
    while pending:
        key = pending.pop()
        if key not in marked:
            marked.add(key)
            pending.extend(references(key))
    left = [key for key in present if key not in marked]
    waiting = dict.fromkeys(left, 0)  # how many of the others still refer to it
    for key in left:
        for target in references(key):
            if target in waiting:
                waiting[target] += 1
    ready = [key for key in left if not waiting[key]]
    ordered: list[Key] = []
    while ready:
        key = ready.pop()
        ordered.append(key)
        for target in references(key):
            if target in waiting:
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
    return ordered
