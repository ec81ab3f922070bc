"""The bytes of EROFS, read back by a reader of the tests' own, written from the kernel's structures."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.lib.tar import Entry, InvalidTar
from corten.store.erofs import layout, tree
from corten.store.erofs.sparse import copied, in_place
from corten.store.erofs.tree import LayerTree
from corten.store.erofs.xattrs import encoded_xattrs

_NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"\0" not in name and b"/" not in name)


def read_directory(data: bytes) -> list[tuple[bytes, int, int]]:
    """Entries of a directory's data, block by block, as fs/erofs/dir.c walks them."""
    found = []
    for start in range(0, len(data), 512):
        block = data[start : start + 512]
        count = struct.unpack_from("<H", block, 8)[0] // 12
        heads = [struct.unpack_from("<QHBB", block, 12 * number) for number in range(count)]
        ends = [head[1] for head in heads[1:]] + [len(block)]
        for (nid, offset, kind, _), end in zip(heads, ends, strict=True):
            found.append((block[offset:end].split(b"\0")[0], nid, kind))
    return found


@given(st.dictionaries(_NAMES, st.tuples(st.integers(0, 2**63), st.integers(1, 7)), max_size=200))
def test_directories_come_back(entries: dict[bytes, tuple[int, int]]) -> None:
    entries = {b".": (1, 2), b"..": (2, 2)} | entries
    rows = [(name, *what) for name, what in sorted(entries.items())]
    assert read_directory(layout.directory(rows)) == rows


def read_xattrs(body: bytes) -> list[tuple[int, bytes, bytes]]:
    found, at = [], 12
    while at < len(body):
        name_length, index, size = struct.unpack_from("<BBH", body, at)
        name = body[at + 4 : at + 4 + name_length]
        found.append((index, name, body[at + 4 + name_length : at + 4 + name_length + size]))
        at += 4 + name_length + size
        at += -at % 4
    return found


@given(st.lists(st.tuples(st.integers(1, 6), st.binary(max_size=100), st.binary(max_size=300)), min_size=1, max_size=9))
def test_attributes_come_back(attributes: list[tuple[int, bytes, bytes]]) -> None:
    body = layout.xattr_body(attributes)
    assert len(body) == 12 + 4 * (layout.xattr_count(body) - 1)
    assert read_xattrs(body) == attributes


def test_the_superblock_is_where_and_what_linux_expects() -> None:
    block = layout.superblock(root_nid=2, inodes=7, blocks=99, meta_block=33, time=5, chunks=True)
    assert len(block) == 4096
    magic, checksum, compat, bits, slots, root, inodes = struct.unpack_from("<IIIBBHQ", block, 1024)
    assert (magic, checksum, compat, bits, slots, root, inodes) == (0xE0F5E1E2, 0, 2, 9, 0, 2, 7)
    assert struct.unpack_from("<II", block, 1024 + 36) == (99, 33)
    assert struct.unpack_from("<I", block, 1024 + 80) == (4,)
    assert layout.INODE.size == 64


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


_ANY = 0xFFFFFFFF
_MINIMAL = acl((1, 7, _ANY), (4, 5, _ANY), (0x20, 1, _ANY))
_WITH_USER = acl((1, 6, _ANY), (2, 7, 1000), (4, 4, _ANY), (0x10, 7, _ANY), (0x20, 0, _ANY))


def test_access_lists_set_the_permissions_that_they_stand_for() -> None:
    name = b"system.posix_acl_access"
    assert encoded_xattrs({name: _MINIMAL}, "file") == (b"", 0o751)
    body, permissions = encoded_xattrs({name: _WITH_USER}, "file")
    assert (read_xattrs(body), permissions) == ([(2, b"", _WITH_USER)], 0o670)
    wrong = [
        b"", b"\2\0\0\0", _MINIMAL[:-1], b"\1" + _MINIMAL[1:], acl((1, 7, _ANY)), acl((1, 8, _ANY), (4, 5, _ANY), (0x20, 1, _ANY)),
        acl((4, 5, _ANY), (1, 7, _ANY), (0x20, 1, _ANY)), acl((1, 6, _ANY), (2, 7, 5), (4, 4, _ANY), (0x20, 0, _ANY)),
        acl((1, 6, _ANY), (1, 6, _ANY), (4, 4, _ANY), (0x20, 0, _ANY)), acl((3, 6, _ANY), (4, 4, _ANY), (0x20, 0, _ANY)),
    ]  # fmt: skip
    for value in wrong:
        assert encoded_xattrs({name: value}, "file") == (b"", None)
    assert encoded_xattrs({name: _WITH_USER}, "symlink") == (b"", None)


def test_what_setxattr_refuses_is_left_out() -> None:
    capability = b"\1\0\0\2" + bytes(16)
    given = {
        b"user.a": b"1", b"other.b": b"1", b"user.": b"1", b"security.capability": b"short", b"trusted.c": b"",
        b"system.posix_acl_default": _WITH_USER,
    }  # fmt: skip
    assert read_xattrs(encoded_xattrs(given, "file")[0]) == [(1, b"a", b"1"), (4, b"c", b"")]
    assert read_xattrs(encoded_xattrs(given, "fifo")[0]) == [(4, b"c", b"")]
    assert (3, b"", _WITH_USER) in read_xattrs(encoded_xattrs(given, "directory")[0])
    assert read_xattrs(encoded_xattrs({b"security.capability": capability}, "file")[0]) == [
        (6, b"capability", capability)
    ]


def test_aligned_sparse_files_stay_where_they_are() -> None:
    assert in_place([], 5 << 40, 8) == (40, [layout.HOLE] * 5)
    assert in_place([(4096, 4096), (12288, 100)], 12388, 8) == (12, [layout.HOLE, 8, layout.HOLE, 16])
    assert in_place([(0, 1000)], 1000, 8) == (40, [8])
    assert in_place([(1, 511)], 512, 8) is None
    assert in_place([(0, 1000)], 5000, 8) is None  # what follows its end in the tar would be seen
    assert in_place([(8 << 40, 512)], (8 << 40) + 512, 8) == (40, [layout.HOLE] * 8 + [8])
    assert in_place([((8 << 40) + 512, 512)], (8 << 40) + 1024, 8) is None  # 16 billion chunks of 512 bytes


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(1, 1 << 12)), max_size=20),
    st.sampled_from([1, 512, 4096]),
    st.integers(0, 1 << 20),
)
def test_every_byte_of_a_map_is_found_where_it_is_stored(gaps: list[tuple[int, int]], unit: int, tail: int) -> None:
    pieces, at, stored = [], 0, []
    for gap, length in gaps:
        pieces.append((at + gap * unit, length * unit))
        stored.append((pieces[-1][0], sum(size for _, size in pieces[:-1])))
        at = sum(pieces[-1])
    size = at + tail
    found = in_place(pieces, size, 1000)
    if found is None:
        copy = copied(pieces, size, 1000 * 512)
        assert -(-size >> copy.bits) <= 1024
        for offset, length in pieces:
            assert {offset >> copy.bits, offset + length - 1 >> copy.bits} <= set(copy.chunks)
        return
    bits, blocks = found
    for offset, source in stored:
        assert (blocks[offset >> bits] << 9) + offset % (1 << bits) == 1000 * 512 + source
    assert sum(block != layout.HOLE for block in blocks) == sum(-(-length >> bits) for _, length in pieces)


def test_an_attribute_larger_than_its_length_can_say_is_refused() -> None:
    body, _mode = encoded_xattrs({b"user.a": bytes(65_000)}, "file")
    assert len(body) > 65_000
    for name, size in ((b"user.a", 65_536), (b"user.a", 65_535), (b"user." + b"n" * 251, 1)):
        with pytest.raises(InvalidTar, match="too large"):
            encoded_xattrs({name: bytes(size)}, "file")


def _many(kind: str) -> Iterator[Entry]:
    """Entries without end."""
    yield Entry(b"first", "file", 0o644, 0, 0, 0, 0)
    for number in itertools.count():
        name = b"%d" % number
        if kind == "one name":
            yield Entry(b"a", "file", 0o644, 0, 0, 0, 0)
        elif kind == "links":
            yield Entry(name, "hardlink", 0o644, 0, 0, 0, 0, link=b"first")
        elif kind == "long links":
            yield Entry(name, "symlink", 0o777, 0, 0, 0, 0, link=b"t" * 4000)
        elif kind == "attributes":
            yield Entry(name, "directory", 0o755, 0, 0, 0, 0, xattrs={b"user.a": bytes(100)})
        elif kind == "sparse":
            pieces = [(at * 1024 + 1, 1) for at in range(100)]
            yield Entry(name, "file", 0o644, 0, 0, 200_000, 0, pieces=pieces)
        elif kind == "parents":
            yield Entry(name + b"/f", "file", 0o644, 0, 0, 0, 0)
        else:
            yield Entry(name, kind, 0o755, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "kind", ["one name", "links", "long links", "attributes", "sparse", "parents", "file", "directory"]
)
def test_a_layer_that_would_take_too_much_memory_is_refused_whatever_it_is_made_of(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    limit = 2 << 20
    monkeypatch.setattr(tree, "_MEMORY_MAX", limit)
    layer = LayerTree(lambda _path: None, now_ns=0)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidTar, match="too many files, or too long names or attributes, for 2 MB of memory"):
            for entry in _many(kind):
                layer.place(entry, 4608)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit
