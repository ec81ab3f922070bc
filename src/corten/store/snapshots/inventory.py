"""What lies below a driver's directory, and whose it is. Blocking; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from corten.linux import tree

_OWN = {"0", "c", "tmp", "trash"}


def disk_usage(root: Path) -> Mapping[str, int]:
    """Allocated bytes of `layers`, `snapshots` and `trash`; the directories themselves count as layers."""
    found = {"layers": os.lstat(root).st_blocks * 512, "snapshots": 0, "trash": 0}
    for entry in list(os.scandir(root)):
        kind = {"c": "snapshots", "tmp": "trash", "trash": "trash"}.get(entry.name, "layers")
        own = os.lstat(entry.path).st_blocks * 512 if kind != "layers" else 0
        found["layers"] += own
        found[kind] += tree.allocated(entry.path) - own
    return found


def orphans(root: Path, layers: Collection[int], snapshots: Collection[str]) -> list[str]:
    """Paths that belong to none of the `layers`, by number, and to none of the `snapshots`, by key."""
    known = {str(number) for number in layers} | _OWN
    found = [entry.path for entry in list(os.scandir(root)) if entry.name not in known]
    return found + [entry.path for entry in list(os.scandir(root / "c")) if entry.name not in snapshots]
