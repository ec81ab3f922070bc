"""What differs between two images: layers, configuration, files. Pure but for reading layers; disk threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from corten.engine.images.catalog import ImageEntry
from corten.engine.images.decompress import TarStream
from corten.engine.images.flatten import File, Tree, lay
from corten.engine.images.library import ImageLibrary
from corten.spec.corten.image import ConfigChange, DiffSide, FileChange, ImageDiff
from corten.spec.oci_image import Image

_LIST_LIMIT = 100_000
_ALIKE = ("mode", "owner", "link", "device", "xattrs")


def difference(
    library: ImageLibrary, old: ImageEntry, new: ImageEntry, names: tuple[str, str], check: Callable[[], None]
) -> ImageDiff:
    """All that differs between two images, by paths. Blocking. `check` is called between files and may raise.

    Raises InvalidTar, NotFound, DataLoss for a layer that cannot be read.
    """
    shared = _shared(old, new)
    old_tree, new_tree = _trees(library, old, new, shared, check)
    files = list(itertools.islice(file_changes(old_tree, new_tree), _LIST_LIMIT + 1))
    return ImageDiff(
        old=DiffSide(name=names[0], id=old.id, size=old.unpacked_size, layers=len(old.chain)),
        new=DiffSide(name=names[1], id=new.id, size=new.unpacked_size, layers=len(new.chain)),
        shared_layers=shared,
        config=list(config_changes(old.config, new.config)),
        files=files[:_LIST_LIMIT],
        cut=len(files) > _LIST_LIMIT,
    )


def _shared(old: ImageEntry, new: ImageEntry) -> int:
    """How many of the lowest layers are the same."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old.chain, new.chain, strict=False)))


def _trees(
    library: ImageLibrary, old: ImageEntry, new: ImageEntry, shared: int, check: Callable[[], None]
) -> tuple[Tree, Tree]:
    below: Tree = {}
    if shared < max(len(old.chain), len(new.chain)):
        _lay_all(library, below, old, 0, shared, check)
    trees: list[Tree] = []
    for entry in (old, new):
        tree = dict(below)
        _lay_all(library, tree, entry, shared, len(entry.chain), check)
        trees.append(tree)
    return trees[0], trees[1]


def _lay_all(
    library: ImageLibrary, tree: Tree, entry: ImageEntry, start: int, end: int, check: Callable[[], None]
) -> None:
    for layer, diff_id in list(zip(entry.layers, entry.config.diff_ids, strict=True))[start:end]:
        with library.open_blob(layer.digest) as file:
            stream = TarStream(file, diff_id=diff_id)
            lay(tree, stream, check)
            while stream.read(1 << 20):  # to its end, where the digest is checked
                pass


def file_changes(old: Tree, new: Tree) -> Iterator[FileChange]:
    """The paths that differ, sorted. Directories whose time alone differs are left out: every change inside does it."""
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before is after or (not path and None in (before, after)):
            continue  # every image has a root, also when no layer tells of it
        shown = "/" + path.decode("utf-8", "replace")
        if before is None and after is not None:
            yield FileChange(path=shown, kind="A", new_size=after.size)
        elif after is None and before is not None:
            yield FileChange(path=shown, kind="D", old_size=before.size)
        elif before is not None and after is not None and (what := _differing(before, after)):
            yield FileChange(path=shown, kind="C", old_size=before.size, new_size=after.size, what=what)


def _differing(before: File, after: File) -> list[str]:
    if before.kind != after.kind:
        return ["type"]
    found = ["content"] if (before.digest, before.size) != (after.digest, after.size) else []
    found += [name for name in _ALIKE if getattr(before, name) != getattr(after, name)]
    if before.mtime_ns != after.mtime_ns and before.kind != "directory":
        found.append("time")
    return found


def config_changes(old: Image, new: Image) -> Iterator[ConfigChange]:
    """The fields that differ; lists and maps of the defaults are told whole, layers and history are left out."""
    before, after = _flat(old), _flat(new)
    for field in sorted(before.keys() | after.keys()):
        if before.get(field) != after.get(field):
            yield ConfigChange(field=field, old=before.get(field), new=after.get(field))


def _flat(image: Image) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(image)
    defaults = document.pop("config", None) or {}
    for name in ("rootfs", "history"):
        document.pop(name, None)
    return {**document, **{f"config.{name}": value for name, value in defaults.items()}}
