"""An output of files: what goes into which directory, for clients that take a tree."""

from __future__ import annotations

import hashlib
import json

from tests.unit.build.trees import tree_of

from corten.build.attestations.statement import Predicate
from corten.build.exporters.files import parts
from corten.build.exporters.joined import JoinedTree
from corten.build.exporters.request import FilesExport
from corten.build.exporters.result import Part, PlatformImage
from corten.build.filesystem import FileSystem
from corten.build.outputs import Built
from corten.build.trees.tree import Tree, walk
from corten.spec.oci_image import Image

SAID = Predicate(type="t", document={"a": 1}, filename="provenance.json")


def image(architecture: str, variant: str = "", *predicates: Predicate) -> PlatformImage:
    found = Image(os="linux", architecture=architecture, variant=variant or None)
    return PlatformImage(built=Built(image=found, filesystem=FileSystem()), predicates=predicates)


def directories(*images: PlatformImage, **fields: object) -> list[str]:
    return [part.directory for part in parts(images, FilesExport(kind="local", **fields))]  # type: ignore[arg-type]


def test_several_platforms_have_a_directory_each() -> None:
    assert directories(image("amd64")) == [""]
    assert directories(image("amd64"), image("arm", "v6")) == ["linux_amd64", "linux_arm_v6"]
    assert directories(image("amd64"), split=True) == ["linux_amd64"]


def test_attestations_are_files_with_a_prefix() -> None:
    (part,) = parts([image("amd64", "", SAID)], FilesExport(kind="local", prefix="x."))
    ((name, data),) = part.files
    assert name == "x.provenance.json"
    assert json.loads(data)["predicate"] == {"a": 1}


def content(tree: Tree) -> dict[str, str]:
    return {
        path: b"".join(tree.chunks(path)).decode() if node.kind == "file" else node.kind
        for path, node in walk(tree, "")
    }


def part(directory: str, **files: bytes) -> Part:
    return Part(directory=directory, filesystem=FileSystem(), files=tuple(files.items()))


def test_one_tree_has_all_parts() -> None:
    one, other = tree_of({"d/f": b"1", "said": b"hidden"}, mtime_ns=9), tree_of({"g": "d"})
    joined = JoinedTree([(part("a", said=b"said"), one), (part("b"), other)], 5)
    assert content(joined) == {
        "a": "directory", "a/d": "directory", "a/d/f": "1", "a/said": "said", "b": "directory", "b/g": "symlink",
    }  # fmt: skip
    nodes = [joined.lstat(path) for path in ("", "a", "a/d/f", "a/said", "b/g")]
    assert all(node is not None and node.mtime_ns <= 5 for node in nodes)
    assert joined.lstat("c") is None
    assert joined.lstat("c/d") is None
    assert joined.digest("a/said") == hashlib.sha256(b"said").hexdigest()
    assert joined.digest("a/d/f") == hashlib.sha256(b"1").hexdigest()
    assert joined.xattrs("a/said") == joined.xattrs("a") == {}


def test_one_part_is_the_tree_itself() -> None:
    joined = JoinedTree([(part("", said=b"x"), tree_of({"a/b": b"c"}))])
    assert content(joined) == {"a": "directory", "a/b": "c", "said": "x"}
    root = joined.lstat("")
    assert root is not None
    assert root.kind == "directory"
