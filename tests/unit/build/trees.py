"""Trees of the tests' own: tars written here, read as the builder reads them."""

from __future__ import annotations

import io
import os
import tempfile

from corten.build.copying.layer import Attributes, LayerPlan
from corten.build.copying.select import select
from corten.build.operations import Copy
from corten.build.trees.tar import TarTree
from corten.build.trees.tree import EmptyTree, Tree
from corten.lib.tar import Entry, TarReader
from corten.lib.tar_writer import TarWriter

Content = dict[str, "bytes | str | None"]


def entry(name: str, kind: str, **fields: object) -> Entry:
    """A member with a mode of its kind, root's, of 1970."""
    values = {"mode": 0o755 if kind == "directory" else 0o644, "uid": 0, "gid": 0, "size": 0, "mtime_ns": 0, **fields}
    return Entry(os.fsencode(name), kind, **values)


def tar_of(content: Content, **fields: object) -> io.BytesIO:
    """A tar: bytes are files, text is a link's target, None a directory."""
    file = io.BytesIO()
    writer = TarWriter(file.write)
    for name, what in content.items():
        if what is None:
            writer.add(entry(name, "directory", **fields))
        elif isinstance(what, str):
            writer.add(entry(name, "symlink", link=os.fsencode(what), **fields))
        else:
            writer.add(entry(name, "file", size=len(what), **fields), [what])
    writer.finish()
    return file


def tree_of(content: Content, **fields: object) -> TarTree:
    """A tree of a tar."""
    file = tempfile.TemporaryFile()
    file.write(tar_of(content, **fields).getvalue())
    file.flush()
    return TarTree(file)


def copied(copy: Copy, source: Tree, target: Tree | None = None, **attributes: object) -> dict[str, Entry]:
    """The members of the layer that a copy from one source makes, by name, without the root."""
    target = target or EmptyTree()
    plan = LayerPlan(target, Attributes(**attributes))
    plan.place(select(copy, [target, source], keeps_owner=[True, False]), copy.destination)
    return members(plan)


def members(plan: LayerPlan) -> dict[str, Entry]:
    """What a plan writes."""
    file = io.BytesIO()
    writer = TarWriter(file.write)
    plan.write(writer)
    writer.finish()
    file.seek(0)
    found = {}
    for member in TarReader(file):
        name = os.fsdecode(member.name).rstrip("/")
        assert name not in found
        found[name] = member
    assert found.pop(".").kind == "directory"
    return found
