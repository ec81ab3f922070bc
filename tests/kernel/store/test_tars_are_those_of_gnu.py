"""Trees as hypothesis makes them, through tars that GNU tar writes or reads: the result is what GNU tar makes of it."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kernel.store.tars import Image, fingerprint, unpack

from corten.lib.tar_writer import TarWriter
from corten.store.erofs.layout import DATA_START
from corten.store.pack import Packer

_FORMATS = [
    ["--format=v7"], ["--format=ustar"], ["--format=oldgnu"], ["--format=gnu"], ["--format=posix", "--xattrs"],
    ["--format=gnu", "--sparse"], ["--format=oldgnu", "--sparse"],
    *(["--format=posix", "--xattrs", "--sparse", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")),
]  # fmt: skip
_CREATE = ["--numeric-owner", "--xattrs-include=*", "-C"]
_EXTRACT = ["-x", "-p", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C"]


@dataclass(frozen=True)
class Node:
    """One inode to make; `of` picks the file that a hard link is to."""

    name: bytes
    parent: int
    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: bytes = b""
    holes: tuple[int, ...] = ()
    target: bytes = b""
    of: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)


_NAMES = st.binary(min_size=1, max_size=60).map(
    lambda raw: b"x" + bytes(b for b in raw if b not in (0, ord("/"))) + b"." * (len(raw) % 3)
) | st.integers(100, 255).map(lambda size: b"n" * size)
_IDS = st.sampled_from([0, 1, 1000, 65534, 0o7777777 - 1])
_NODES = st.builds(
    Node,
    name=_NAMES,
    parent=st.integers(0, 30),
    kind=st.sampled_from(["dir", "dir", "file", "file", "sparse", "link", "hard", "fifo", "char"]),
    mode=st.sampled_from([0o755, 0o644, 0o000, 0o4755, 0o2775, 0o1777, 0o600]),
    uid=_IDS,
    gid=_IDS,
    mtime_ns=st.integers(0, 2**32 * 10**9) | st.integers(1, 10**9),
    content=st.binary(max_size=1500),
    holes=st.lists(st.integers(0, 200), max_size=6, unique=True).map(lambda blocks: tuple(sorted(blocks))),
    target=st.binary(min_size=1, max_size=150).map(lambda raw: raw.replace(b"\0", b"0")),
    of=st.integers(0, 30),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "trusted.b", "user.long"]), st.binary(max_size=200), max_size=2),
)


def build(nodes: list[Node], top: bytes) -> None:
    """Make the tree. Attributes come last, the deepest first."""
    directories, files, made = [top], list[bytes](), list[tuple[bytes, Node]]()
    for node in nodes:
        path = os.path.join(directories[node.parent % len(directories)], node.name)
        if os.path.lexists(path):
            continue
        if node.kind == "hard":
            if files:
                os.link(files[node.of % len(files)], path)
            continue
        make(path, node)
        made.append((path, node))
        if node.kind == "dir":
            directories.append(path)
        elif node.kind in ("file", "sparse"):
            files.append(path)
    for path, node in reversed(made):
        describe(path, node)
    for path, node in reversed(made):
        os.utime(path, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)


def make(path: bytes, node: Node) -> None:
    """The inode."""
    if node.kind == "dir":
        os.mkdir(path)
    elif node.kind in ("file", "sparse"):
        write(path, node)
    elif node.kind == "link":
        os.symlink(node.target, path)
    elif node.kind == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, 0o20000, os.makedev(1, 3 + node.of))


def describe(path: bytes, node: Node) -> None:
    """Its attributes, but for the time."""
    os.chown(path, node.uid, node.gid, follow_symlinks=False)
    if node.kind != "link":
        os.chmod(path, node.mode)
    if node.kind in ("dir", "file", "sparse"):
        for name, value in node.xattrs.items():
            os.setxattr(path, name, value)


def write(path: bytes, node: Node) -> None:
    """A file with content, or with pieces between holes."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    if node.kind == "file":
        os.write(fd, node.content)
    else:
        for block in node.holes:
            os.pwrite(fd, (node.content or b"z").ljust(700, b"q"), block * 4096)
        os.ftruncate(fd, max(node.holes, default=0) * 4096 + 5000)
    os.close(fd)


def gnu_tar(*arguments: str | bytes, data: bytes | None = None) -> bytes:
    """Run it; it warns by its status of what v7 and ustar cannot say."""
    result = subprocess.run(["tar", *arguments], input=data, capture_output=True, check=False)
    assert result.returncode in (0, 1, 2), result.stderr
    return result.stdout


def in_new_directory(check: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="corten-tars-", dir="/var/tmp") as directory:
        check(Path(directory))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=st.lists(_NODES, min_size=1, max_size=25))
@pytest.mark.parametrize("options", _FORMATS, ids=" ".join)
def test_a_layer_is_what_gnu_tar_makes_of_it(options: list[str], nodes: list[Node]) -> None:
    def check(directory: Path) -> None:
        for name in ("source", "ours", "theirs"):
            (directory / name).mkdir()
        build(nodes, os.fsencode(directory / "source"))
        archive = gnu_tar("-c", *options, *_CREATE, str(directory / "source"), ".")
        gnu_tar(*_EXTRACT, str(directory / "theirs"), data=archive)
        unpack(io.BytesIO(archive), directory / "ours")
        theirs = fingerprint(directory / "theirs")
        assert fingerprint(directory / "ours") == theirs
        with Image(io.BytesIO(archive), directory / "image") as root:
            assert fingerprint(root) == theirs
        with open(directory / "image", "rb") as image:  # the tar is in it as it came
            assert image.read()[DATA_START:].startswith(archive)

    in_new_directory(check)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=st.lists(_NODES, min_size=1, max_size=25))
def test_what_is_packed_here_is_the_tree_again_for_both(nodes: list[Node]) -> None:
    def check(directory: Path) -> None:
        for name in ("source", "ours", "theirs"):
            (directory / name).mkdir()
        build(nodes, os.fsencode(directory / "source"))
        out = io.BytesIO()
        writer = TarWriter(out.write)
        fd = os.open(directory / "source", os.O_RDONLY)
        packer = Packer(writer)
        packer.root(fd)
        packer.tree(fd)
        writer.finish()
        os.close(fd)
        expected = fingerprint(directory / "source")
        unpack(io.BytesIO(out.getvalue()), directory / "ours")
        assert fingerprint(directory / "ours") == expected
        with Image(io.BytesIO(out.getvalue()), directory / "image") as root:
            assert fingerprint(root) == expected
        gnu_tar(*_EXTRACT, str(directory / "theirs"), data=out.getvalue())
        assert fingerprint(directory / "theirs") == expected

    in_new_directory(check)
