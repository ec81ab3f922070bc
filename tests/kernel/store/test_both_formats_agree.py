"""What one way of keeping layers makes of a tar, the other makes too: the same refusal, or the same files."""

from __future__ import annotations

import contextlib
import io
import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.kernel.store.tars import Image, Print, fingerprint, member, pax_of, tar, unpack
from tests.kernel.store.test_hostile_layers import attacks, mutate
from tests.kernel.store.test_tars_are_those_of_gnu import in_new_directory

from corten.lib.tar import InvalidTar
from corten.linux.tree import usage

_IMPLICIT_S = 1_700_000_000  # what is younger was made without a time of its own


def outcome(data: bytes, directory: Path, form: str) -> tuple[Print, int] | str:
    """All that can be told of the layer with its size, or why it is none."""
    home = directory / form
    home.mkdir()
    home.chmod(0o755)
    try:
        if form == "erofs":
            image = Image(io.BytesIO(data), home / "image")
            with image as root:
                return without_implicit_times(fingerprint(root)), image.size
        size = unpack(io.BytesIO(data), home)
        assert size == usage_of(home)
        return without_implicit_times(fingerprint(home)), size
    except (InvalidTar, OSError) as error:
        return f"{type(error).__name__}: {error}" if isinstance(error, InvalidTar) else type(error).__name__


def usage_of(directory: Path) -> int:
    fd = os.open(directory, os.O_RDONLY)
    try:
        return usage(fd)
    finally:
        os.close(fd)


def without_implicit_times(found: Print) -> Print:
    return {
        path: (*row[:4], 0 if int(str(row[4])) > _IMPLICIT_S * 10**9 else row[4], *row[5:])
        for path, row in found.items()
    }


def agree(data: bytes, directory: Path) -> None:
    assert outcome(data, directory, "erofs") == outcome(data, directory, "overlay2")


@pytest.mark.parametrize("name", attacks("/x"))
def test_of_every_attack(tmp_path: Path, name: str) -> None:
    (tmp_path / "canary").mkdir()
    agree(tar(*attacks(str(tmp_path / "canary"))[name]).getvalue(), tmp_path)


REPLACED = {
    "a hard link to a whiteout": [member("file", ".wh.a"), member("hard", "c", "a"), member("dir", "c")],
    "a hard link to itself by another way": [
        member("file", "a/b", b"1"), member("link", "l", "a"), member("hard", "l/b", "a/b"), member("hard", "a/b", "l/b"),
    ],
    "a directory replaced by another way": [
        member("file", "a/b", b"1"), member("link", "l", "/"), member("file", "l/a", b"2"), member("file", "a/c", b"3"),
    ],
    "a directory below a link that was replaced": [
        member("dir", "a/s"), member("dir", "b/s"), member("link", "l", "a"), member("file", "l/s/one", b"1"),
        member("link", "m", "l"), member("file", "m/s/one", b"1"), member("link", "l", "b"), member("file", "m/s/two", b"2"),
    ],
    "a whiteout that went with its directory": [
        member("file", "a/.wh.x"), member("file", "a", b"1"), member("dir", "a"), member("dir", "a/x"),
    ],
    "a directory of a whiteout by another way": [
        member("dir", "a"), member("link", "l", "a"), member("file", "l/.wh.x"), member("dir", "a/x"),
    ],
    "a map of what is no file": [
        *(pax_of({b"GNU.sparse.map": b"", b"GNU.sparse.size": b"9"}) + member(kind, kind, device=(1, 3)) for kind in ("char", "block", "fifo")),
        pax_of({b"GNU.sparse.map": b"", b"GNU.sparse.size": b"9"}) + member("link", "link", "x"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", REPLACED)
def test_of_what_is_reached_by_two_ways(tmp_path: Path, name: str) -> None:
    agree(tar(*REPLACED[name]).getvalue(), tmp_path)


_NAMES = st.sampled_from(["a", "b", "a/b", "a/b/c", "b/c", "c", "c/a", "l", "l/a", "l/b/c", "./", "a/.wh.b", ".wh.a",
                          ".wh.l", "l/.wh.b", "l/b", "a/.wh..wh..opq", ".wh..wh..opq", "../x", "a/../b", ".wh..wh.plnk"])  # fmt: skip
_TARGETS = st.sampled_from(["a", "b", "/a/b", "../b", ".", "..", "l", "absent", "/", "b/c", "a/b"])
_MEMBERS = st.one_of(
    st.tuples(st.just("file"), _NAMES, st.sampled_from(["", "1", "22"])),
    st.tuples(st.just("dir"), _NAMES, st.just("")),
    st.tuples(st.just("dir"), _NAMES, st.just("")),
    st.tuples(st.sampled_from(["link", "hard"]), _NAMES, _TARGETS),
    st.tuples(st.just("fifo"), _NAMES, st.just("")),
)
_ACL = b"system.posix_acl_default"
_RULES = struct.pack(
    "<I" + "HHI" * 5, 2, 1, 7, 2**32 - 1, 2, 7, 1000, 4, 5, 2**32 - 1, 16, 7, 2**32 - 1, 32, 0, 2**32 - 1
)
_XATTRS = st.dictionaries(
    st.sampled_from([b"user.a", b"trusted.b", b"security.capability", b"trusted.overlay.opaque", b"other.x", b"user.", _ACL]),
    st.sampled_from([b"2", b"1", b"\1\0\0\2" + bytes(16), bytes(20), _RULES]),
    max_size=2,
)  # fmt: skip


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@example(
    members=[
        (("dir", "a", ""), 0o755, {_ACL: _RULES}),
        (("file", "a/b", "1"), 0o644, {}),
        (("dir", "a", ""), 0o755, {}),
    ]
)
@example(members=[(("dir", "a", ""), 0o755, {_ACL: _RULES}), (("dir", "a", ""), 0o755, {_ACL: b"2"})])
@example(
    members=[(("file", "a/b", "1"), 0o644, {}), (("link", "l", "a"), 0o644, {}), (("hard", "l/b", "a/b"), 0o644, {})]
)
@example(members=[(("file", "a", "22"), 0o644, {}), (("hard", "b", "a"), 0o644, {}), (("link", "a", "b/c"), 0o644, {})])
@given(members=st.lists(st.tuples(_MEMBERS, st.sampled_from([0o644, 0o755, 0o2750]), _XATTRS), max_size=9))
def test_of_entries_that_get_in_each_others_way(
    members: list[tuple[tuple[str, str, str], int, dict[bytes, bytes]]],
) -> None:
    def one(kind: str, name: str, content: str, mode: int, xattrs: dict[bytes, bytes]) -> bytes:
        # A directory that is named again is given to its owner again, and chown(2) takes capabilities away.
        capable = kind == "file" or b"security.capability" not in xattrs
        records = {b"SCHILY.xattr." + key: value for key, value in xattrs.items()} if capable else {}
        return (pax_of(records) if records else b"") + member(kind, name, content, mode=mode)

    data = tar(*(one(*what, mode, xattrs) for what, mode, xattrs in members)).getvalue()
    in_new_directory(lambda directory: agree(data, directory))


def test_of_damaged_tars(tmp_path: Path) -> None:
    numbers = random.Random(20_261_128)
    seed = tar(
        member("dir", "d", mode=0o755), pax_of({b"SCHILY.xattr.user.a": b"1", b"mtime": b"12.5"}) + member("file", "d/f", b"data"),
        member("hard", "h", "d/f"), member("link", "l", "d"), member("file", ".wh.gone"), member("file", "l/g", b"2"),
        member("char", "c", device=(1, 3)), member("fifo", "p"), member("file", "n" * 120, b"x" * 600),
        pax_of({b"GNU.sparse.size": b"2000", b"GNU.sparse.map": b"0,10,1000,10"}) + member("file", "s", b"y" * 20),
    ).getvalue()  # fmt: skip
    for number in range(300):
        data = bytearray(seed)
        for _ in range(numbers.randint(1, 4)):
            mutate(data, numbers)
        with contextlib.suppress(FileExistsError):
            (tmp_path / str(number)).mkdir()
        agree(bytes(data), tmp_path / str(number))
