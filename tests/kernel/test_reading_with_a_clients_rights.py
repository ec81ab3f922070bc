"""Files are read with the rights of whoever passed the directory, in the thread that reads, and nowhere else."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from corten.build.trees.directory import DirectoryTree
from corten.build.trees.hashes import ContextHashes
from corten.build.trees.listings import ContextUnreadable
from corten.build.trees.tree import walk
from corten.linux.acting import ROOT, Identity, acting_as, peer_of
from corten.linux.credentials import capget

STRANGER = Identity(4321, 4322, (4323,))


def status() -> dict[str, str]:
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    wanted = ("Uid", "Gid", "Groups", "CapEff", "CapPrm")
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines if line.startswith(wanted)}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A directory that strangers get to, with files that they may and may not read."""
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and len(parent.parts) > 2:
            parent.chmod(parent.stat().st_mode | 0o711)
    root = tmp_path / "context"
    root.mkdir(mode=0o755)
    (root / "open").write_bytes(b"open")
    (root / "secret").write_bytes(b"secret")
    os.chmod(root / "secret", 0o600)
    (root / "group").write_bytes(b"group")
    os.chown(root / "group", 0, 4323)
    os.chmod(root / "group", 0o640)
    (root / "locked").mkdir(mode=0o700)
    (root / "locked/f").write_bytes(b"")
    return root


def tree_of(root: Path, reader: Identity) -> DirectoryTree:
    return DirectoryTree(os.open(root, os.O_RDONLY | os.O_DIRECTORY), reader, ContextHashes())


def test_a_stranger_reads_what_it_may_and_nothing_else(context: Path) -> None:
    before = status()
    tree = tree_of(context, STRANGER)
    try:
        assert b"".join(tree.chunks("open")) == b"open"
        assert b"".join(tree.chunks("group")) == b"group"
        for path in ("secret", "locked/f"):
            with pytest.raises(ContextUnreadable, match="permission denied"):
                tree.digest(path)
            with pytest.raises(ContextUnreadable, match="permission denied"):
                list(tree.chunks(path))
        with pytest.raises(ContextUnreadable, match="permission denied"):
            list(walk(tree, ""))
    finally:
        tree.close()
    assert status() == before


def test_root_reads_everything(context: Path) -> None:
    tree = tree_of(context, ROOT)
    try:
        assert len(list(walk(tree, ""))) == 5
        assert b"".join(tree.chunks("secret")) == b"secret"
    finally:
        tree.close()


def test_no_capability_helps_a_stranger_into_proc() -> None:
    tree = tree_of(Path("/proc/1"), STRANGER)  # maps may be opened by all, but for another user only by a tracer
    try:
        with pytest.raises(ContextUnreadable, match="permission denied"):
            list(tree.chunks("maps") if tree.lstat("maps").size else [tree.digest("maps")])
    finally:
        tree.close()


def test_only_the_thread_gives_its_rights_up_and_gets_all_back() -> None:
    before, sets = status(), capget()
    inside, outside = threading.Event(), threading.Event()
    seen: list[dict[str, str]] = []

    def act() -> None:
        with acting_as(STRANGER):
            seen.append(status())
            inside.set()
            outside.wait(20)
        seen.append(status())

    thread = threading.Thread(target=act)
    thread.start()
    assert inside.wait(20)
    assert status() == before
    outside.set()
    thread.join()
    assert seen[0]["Uid"].split()[3] == "4321"
    assert seen[0]["Gid"].split()[3] == "4322"
    assert seen[0]["Groups"] == "4323"
    assert int(seen[0]["CapEff"], 16) == 0
    assert seen[1] == before
    assert capget() == sets


def test_rights_come_back_after_an_error() -> None:
    before = status()
    with pytest.raises(ZeroDivisionError), acting_as(STRANGER):
        raise ZeroDivisionError
    assert status() == before


def test_a_peer_is_who_connected_with_its_groups(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        ours, theirs = os.pipe()
        pid = os.fork()
        if not pid:
            with socket.socket(socket.AF_UNIX) as client:
                cwd = os.open(tmp_path, os.O_PATH)
                os.chmod(path, 0o666)
                os.fchdir(cwd)
                os.setgroups([7, *range(10_000, 10_400)])
                os.setresgid(8, 8, 8)
                os.chmod(".", 0o777)
                os.setresuid(9, 9, 9)
                client.connect("s")
                os.read(ours, 1)
            os._exit(0)
        accepted, _ = listener.accept()
        with accepted:
            assert peer_of(accepted) == Identity(9, 8, (7, *range(10_000, 10_400)))
        os.write(theirs, b"x")
        assert os.waitpid(pid, 0)[1] == 0
        os.close(ours)
        os.close(theirs)


def test_attributes_that_give_capabilities_are_kept_and_others_are_not(context: Path) -> None:
    value = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(context / "open", "security.capability", value)
    os.setxattr(context / "open", "trusted.note", b"x")
    tree = tree_of(context, ROOT)
    try:
        assert tree.xattrs("open") == {b"security.capability": value}
        assert tree.xattrs("") == {}
    finally:
        tree.close()


def test_a_block_in_a_block_is_refused_and_the_thread_has_its_rights_again() -> None:
    before = status()
    with pytest.raises(RuntimeError, match="already"), acting_as(STRANGER), acting_as(Identity(5, 5)):
        raise AssertionError("not reached")
    assert status() == before
