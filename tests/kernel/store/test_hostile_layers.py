"""Layers that try to get out, to harm, or to be too large. A canary outside must stay as it is."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import secrets
import stat
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.store.tars import TYPES, Image, fingerprint, header, member, padded, pax, pax_of, tar, unpack

from corten.lib.tar import InvalidTar, Readable
from corten.linux.tree import remove_tree

_OPAQUE = "trusted.overlay.opaque"


class World:
    """A place for a layer, and a canary beside it. `unpack` makes the layer, as a directory or as an image."""

    def __init__(self, path: Path, form: str) -> None:
        self.form = form
        self.layer = path / "layer"
        self._images: list[Image] = []
        self.canary = path / "canary"
        self.layer.mkdir()
        self.canary.mkdir()
        (self.canary / "secret").write_text("as it was")
        (self.canary / "secret").chmod(0o640)
        os.setxattr(self.canary / "secret", "user.own", b"1")
        os.utime(self.canary / "secret", ns=(1, 1))
        os.utime(self.canary, ns=(1, 1))
        self._path = path
        self._before = fingerprint(self.canary)

    def unpack(self, stream: Readable, name: str = "") -> Path:
        """The layer's root. Raises what the driver raises."""
        home = self._path / "layer" / name
        home.mkdir(exist_ok=True)
        if self.form == "overlay2":
            unpack(stream, home)
            return home
        image = Image(stream, home / f"image-{secrets.token_hex(8)}")
        self._images.append(image)
        if not name:
            self.layer = image.path
        return image.path

    def taken(self) -> int:
        """Bytes on disk that the layer takes."""
        found = (path.lstat().st_blocks * 512 for path in (self._path / "layer").iterdir())
        return sum(found)

    def close(self) -> None:
        """Unmount."""
        for image in self._images:
            image.__exit__()

    def check(self) -> None:
        """Nothing outside the layer has changed."""
        assert fingerprint(self.canary) == self._before
        assert sorted(os.listdir(self._path)) == ["canary", "layer"]


@pytest.fixture(params=["overlay2", "erofs"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, request.param)
    gc.collect()  # what other tests have left behind
    before = sorted(os.listdir("/proc/self/fd"))
    yield made
    made.close()
    assert sorted(os.listdir("/proc/self/fd")) == before, "descriptors are left open"
    made.check()
    fd = os.open(tmp_path, os.O_RDONLY)
    remove_tree("layer", dir_fd=fd)
    os.close(fd)


def attacks(outside: str) -> dict[str, list[bytes]]:
    """By name; `outside` is the canary's absolute path."""
    secret = f"{outside}/secret"
    return {
        "parent": [member("file", "../canary/secret", b"X")],
        "parent inside": [member("dir", "a"), member("file", "a/../../canary/secret", b"X")],
        "absolute": [member("file", secret, b"X"), member("dir", outside, mode=0o777)],
        "link, then write": [member("link", "l", "../canary"), member("file", "l/secret", b"X")],
        "absolute link, then write": [member("link", "l", outside), member("file", "l/new", b"X")],
        "link to a file, then write": [member("link", "l", secret), member("file", "l", b"X")],
        "links in a row": [
            member("link", "a", ".."), member("link", "b", "a/canary"), member("file", "b/secret", b"X"),
        ],
        "hard link through a link": [member("link", "l", outside), member("hard", "h", "l/secret")],
        "hard link to a parent": [member("hard", "h", "../canary/secret"), member("file", "h", b"X")],
        "absolute hard link": [member("hard", "h", secret), member("file", "h", b"X")],
        "hard link to a link, then write": [
            member("link", "l", secret), member("hard", "h", "l"), member("file", "h", b"X"),
        ],
        "directory replaced by a link": [
            member("dir", "d"), member("file", "d/f", b"1"), member("link", "d", outside), member("file", "d/secret", b"X"),
        ],
        "link replaced by a directory and back": [
            member("link", "d", outside), member("dir", "d"), member("file", "d/secret", b"X"),
            member("link", "d", outside), member("file", "d/secret", b"X"), member("dir", "d/sub"),
        ],
        "open directory replaced deep inside": [
            member("dir", "a/b/c"), member("file", "a/b/c/f", b"1"), member("link", "a", outside),
            member("file", "a/b/c/f", b"X"), member("file", "a/secret", b"X"),
        ],
        "attributes through a link": [
            member("link", "l", outside), member("dir", "l", mode=0o777, uid=123),
            member("link", "m", outside), pax(SCHILY__xattr__user__own=b"X") + member("dir", "m/", mode=0o777),
        ],
        "attributes of a link": [
            pax(SCHILY__xattr__user__own=b"X") + member("link", "l", secret, mode=0o777, uid=123),
            pax(SCHILY__xattr__trusted__own=b"X") + member("link", "m", secret, mode=0o777, uid=123),
        ],
        "node over a link": [member("link", "l", secret), member("fifo", "l", mode=0o777)],
        "whiteout through a link": [member("link", "l", outside), member("file", "l/.wh.secret")],
        "opaque through a link": [member("link", "l", outside), member("file", "l/.wh..wh..opq")],
        "whiteout of a link": [member("link", "l", outside), member("file", ".wh.l")],
        "through a descriptor": [
            member("link", "l", "/proc/self/root" + outside), member("file", "l/secret", b"X"),
            member("link", "m", "/proc/self/cwd"), member("file", "m/new", b"X"),
        ],
        "loops": [
            member("link", "a", "b"), member("link", "b", "a"), member("file", "a/x", b"X"),
        ],
        "own parent": [member("link", "a", "."), member("file", "a/a/a/a/f", b"1"), member("link", "b", "..")],
    }  # fmt: skip


@pytest.mark.parametrize("name", attacks("/x"))
def test_no_layer_writes_outside(world: World, name: str) -> None:
    with contextlib.suppress(InvalidTar):  # refused or unpacked: what counts is what the fixture checks
        world.unpack(tar(*attacks(str(world.canary))[name]))
    world.check()


@pytest.mark.parametrize("mark", [".wh.", ".wh..", ".wh...", "d/.wh..", ".wh./x", "../.wh.x"])
def test_a_whiteout_of_no_name_is_refused(world: World, mark: str) -> None:
    if mark == ".wh./x":
        world.unpack(tar(member("file", mark, b"1")))  # a directory of that name, which is nothing special
        assert (world.layer / ".wh." / "x").exists()
        return
    with pytest.raises(InvalidTar):
        world.unpack(tar(member("dir", "d"), member("file", mark)))


def test_aufs_bookkeeping_is_left_out(world: World) -> None:
    world.unpack(tar(member("dir", ".wh..wh.plnk"), member("file", ".wh..wh.aufs"), member("file", "f")))
    assert os.listdir(world.layer) == ["f"]


def test_absolute_names_stay_in_the_layer(world: World) -> None:
    world.unpack(tar(member("file", "/etc/passwd", b"mine"), member("file", "//x//y", b"2")))
    assert (world.layer / "etc/passwd").read_bytes() == b"mine"
    assert (world.layer / "x/y").read_bytes() == b"2"


def test_a_link_as_a_parent_leads_into_the_layer(world: World) -> None:
    members = [member("dir", "usr/lib"), member("link", "lib", "/usr/lib"), member("file", "lib/so", b"1")]
    world.unpack(tar(*members))
    assert (world.layer / "usr/lib/so").read_bytes() == b"1"


def test_overlays_own_attributes_are_dropped(world: World) -> None:
    hostile = {
        b"SCHILY.xattr.trusted.overlay.redirect": b"/x", b"SCHILY.xattr.trusted.overlay.opaque": b"y",
        b"SCHILY.xattr.trusted.overlay.metacopy": b"", b"SCHILY.xattr.user.overlay.opaque": b"y",
        b"SCHILY.xattr.user.kept": b"1",
    }  # fmt: skip
    world.unpack(tar(pax_of(hostile) + member("dir", "d"), pax_of(hostile) + member("file", "f")))
    assert os.listxattr(world.layer / "d") == os.listxattr(world.layer / "f") == ["user.kept"]


def test_a_whiteout_in_disguise_is_refused_and_devices_are_made(world: World) -> None:
    with pytest.raises(InvalidTar, match="disguise"):
        world.unpack(tar(member("char", "c", device=(0, 0))))
    world.unpack(tar(member("char", "null", device=(1, 3), mode=0o666), member("block", "b", device=(7, 0))))
    assert os.stat(world.layer / "null").st_rdev == os.makedev(1, 3)
    assert stat.S_ISBLK(os.stat(world.layer / "b").st_mode)
    base256 = b"\x80" + (1 << 40).to_bytes(7, "big")
    bad = bytearray(header(b"huge", TYPES["char"]))
    bad[329:337] = base256
    bad[148:156] = b" " * 8
    bad[148:156] = b"%06o\0 " % sum(bad)
    with pytest.raises(InvalidTar, match="device number"):
        world.unpack(tar(bytes(bad)))


def test_a_hard_link_to_a_whiteout_leads_nowhere(world: World) -> None:
    with pytest.raises(InvalidTar, match="leads nowhere"):
        world.unpack(tar(member("file", ".wh.x"), member("hard", "h", "x")))


def test_a_sparse_map_is_a_files(world: World) -> None:
    sparse = pax_of({b"GNU.sparse.map": b"", b"GNU.sparse.size": b"4096"})
    world.unpack(tar(sparse + member("char", "null", device=(1, 3)), sparse + member("file", "f")))
    assert os.stat(world.layer / "null").st_rdev == os.makedev(1, 3)
    assert os.stat(world.layer / "f").st_size == 4096


@pytest.mark.parametrize("number", [b"4294967295", b"4294967296", b"9223372036854775807"])
@pytest.mark.parametrize("key", [b"uid", b"gid"])
def test_owners_that_linux_has_not_are_refused(world: World, key: bytes, number: bytes) -> None:
    with pytest.raises(InvalidTar, match="owner"):
        world.unpack(tar(pax_of({key: number}) + member("file", "f")))


def test_terabytes_of_nothing_take_no_room(world: World) -> None:
    size = 8 << 40
    sparse = pax_of({
        b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"big",
        b"GNU.sparse.realsize": b"%d" % size,
    })  # fmt: skip
    stored = padded(b"1\n%d\n4\n" % (size - 4)) + b"tail"
    world.unpack(tar(sparse + header(b"x", TYPES["file"], size=len(stored)) + padded(stored)))
    assert os.stat(world.layer / "big").st_size == size
    assert world.taken() < 1 << 20
    with open(world.layer / "big", "rb") as file:
        assert os.pread(file.fileno(), 10, size - 8) == b"\0\0\0\0tail"
        assert os.pread(file.fileno(), 10, size // 2) == bytes(10)


@pytest.mark.parametrize(
    "sparse_map",
    [b"0,5,3,5", b"0,9223372036854775807,1,1", b"10,5,0,5", b"0,1000", b"1," * 300_000 + b"1", b"a,b", b"-1,5"],
)
def test_a_map_that_is_none_is_refused(world: World, sparse_map: bytes) -> None:
    records = {b"GNU.sparse.size": b"100", b"GNU.sparse.map": sparse_map}
    with pytest.raises(InvalidTar):
        world.unpack(tar(pax_of(records) + member("file", "f", b"1234567890")))


class Endless(io.RawIOBase):
    """A stream that never ends, made of what `make` gives."""

    def __init__(self, make: Iterator[bytes]) -> None:
        self._make = make

    def read(self, size: int = -1, /) -> bytes:
        return next(self._make, b"")


@pytest.mark.parametrize("kind", [b"x", b"L", b"K", b"g"])
def test_headers_without_end_take_no_memory(world: World, kind: bytes) -> None:
    def large() -> Iterator[bytes]:
        yield header(b"h", kind, size=64 << 20)
        while True:
            yield b"67108864 path=" + b"a" * (1 << 20)

    def many() -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            body = b"%07d" % number + b"n" * 9000
            yield pax_of({body: b"v" * 90_000}, kind) if kind in b"xg" else header(b"h", kind, size=512) + b"n" * 512

    for stream in (large, many):
        tracemalloc.start()
        with pytest.raises(InvalidTar, match="large"):
            world.unpack(Endless(stream()))  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 << 20


@pytest.mark.parametrize("name", [b"n" * 256, b"d/" * 5000 + b"f", b"a" * 100_000, b"x/" + b"n" * 300 + b"/y"])
def test_names_too_long_for_linux_are_refused(world: World, name: bytes) -> None:
    with pytest.raises(InvalidTar, match="too long"):
        world.unpack(tar(member("file", name, b"1")))


def test_names_of_any_bytes_and_full_length_work(world: World) -> None:
    names = [bytes(range(1, 46)) + bytes(range(48, 256)), b"\xff" * 255, b"new\nline", b"/".join([b"n" * 200] * 20)]
    world.unpack(tar(*(member("file", name, name[:10]) for name in names)))
    layer = os.open(world.layer, os.O_RDONLY)
    for name in names:
        with open(os.open(name, os.O_RDONLY, dir_fd=layer), "rb") as file:
            assert file.read() == name[:10]
    os.close(layer)


def test_a_tree_deeper_than_any_path_is_made_and_removed(world: World) -> None:
    chain = "d/" * 1000
    members = [member("dir", chain)]
    for number in range(10):  # each link leads a thousand levels further down
        start = f"l{number - 1}" if number else chain.rstrip("/")
        members.append(member("link", f"l{number}", f"{start}/{chain}e"))
        members.append(member("dir", f"{start}/{chain}e"))
    world.unpack(tar(*members))
    assert len(os.listdir(world.layer)) == 11


def test_the_last_of_several_members_wins(world: World) -> None:
    world.unpack(
        tar(
            member("file", "f", b"1", mode=0o600, uid=7), member("file", "f", b"22", mode=0o644),
            member("dir", "d", mode=0o700, uid=17), member("file", "d/x", b"1"), member("dir", "d", mode=0o755),
            member("file", "k", b"1"), member("dir", "k"), member("file", "k/in", b"1"), member("link", "k", "f"),
        ),
    )  # fmt: skip
    found = fingerprint(world.layer)
    assert found[b"f"][:4] == (oct(0o100644), 0, 0, 2)
    assert found[b"d"][:3] == (oct(0o40755), 0, 0)
    assert (world.layer / "d/x").exists()
    assert os.readlink(world.layer / "k") == "f"


def test_files_below_a_setgid_directory_have_the_owner_they_say(world: World) -> None:
    world.unpack(tar(member("dir", "mail", mode=0o2775, gid=10), member("file", "mail/root", b""),
               member("dir", "mail/sub", mode=0o755), member("file", "mail/unnamed/f", b"")))  # fmt: skip
    found = fingerprint(world.layer)
    assert found[b"mail/root"][2] == 0
    assert found[b"mail/sub"][:3] == (oct(0o40755), 0, 0)


@pytest.mark.parametrize("wrong", [
    [member("hard", "h", "absent")], [member("hard", "h", "no/such")], [member("dir", "d"), member("hard", "h", "d")],
    [member("hard", "h", ".wh.x")], [member("link", "l", "")], [header(b"x", b"Z")],
    [member("file", "f", b"1"), member("file", "f/below", b"2")], [pax_of({b"SCHILY.xattr.user.\0x": b"1"}) + member("file", "f")],
    [pax(path=b"a\0b") + member("file", "f")], [header(b"p", b"x", size=10) + padded(b"9999 a=b\nc")],
    [header(b"p", b"x", size=6) + padded(b"6 a=bb")], [pax(size=b"-1") + member("file", "f")],
    [pax(uid=b"0x10") + member("file", "f")], [b"\xff" * 512],
])  # fmt: skip
def test_what_is_no_layer_is_refused(world: World, wrong: list[bytes]) -> None:
    with pytest.raises(InvalidTar):
        world.unpack(tar(*wrong))


def test_a_stream_cut_off_anywhere_is_refused(world: World) -> None:
    whole = tar(member("dir", "d"), pax(mtime=b"1.5") + member("file", "d/f", b"1" * 700)).getvalue()
    body = len(whole) - 1024
    for end in range(1, body, 61):
        if end % 512 == 0 and end in (512, 2048):
            continue  # between two members: the end marks alone are missing, which every tar accepts
        with pytest.raises(InvalidTar):
            world.unpack(io.BytesIO(whole[:end]))


def test_a_mutated_tar_raises_what_is_expected_or_nothing(world: World) -> None:
    """Seeded, about five seconds."""
    seeds = [
        tar(*(part for parts in attacks(str(world.canary)).values() for part in parts)).getvalue(),
        tar(
            member("dir", "d", mode=0o755), pax(SCHILY__xattr__user__a=b"1", mtime=b"12.5") + member("file", "d/f", b"data"),
            member("hard", "h", "d/f"), member("link", "l", "d"), member("file", ".wh.gone"),
            member("char", "c", device=(1, 3)), member("fifo", "p"), member("file", "n" * 120, b"x" * 600),
            pax_of({b"GNU.sparse.size": b"2000", b"GNU.sparse.map": b"0,10,1000,10"}) + member("file", "s", b"y" * 20),
        ).getvalue(),
    ]  # fmt: skip
    random_numbers = random.Random(20_261_124)
    started, rounds, accepted = time.monotonic(), 0, 0
    while time.monotonic() - started < 5 and rounds < 3000:
        rounds += 1
        data = bytearray(random_numbers.choice(seeds))
        for _ in range(random_numbers.randint(1, 6)):
            mutate(data, random_numbers)
        with contextlib.suppress(InvalidTar, OSError):
            world.unpack(io.BytesIO(bytes(data)), str(rounds))
            accepted += 1
        if rounds % 100 == 0:
            world.check()
    assert rounds > 100
    assert accepted > 0


def mutate(data: bytearray, numbers: random.Random) -> None:
    """Change some bytes, and mostly make the checksum right again."""
    block = numbers.randrange(len(data) // 512) * 512
    choice = numbers.randrange(5)
    if choice == 0:
        data[block + numbers.randrange(512)] = numbers.randrange(256)
    elif choice == 1:
        start, end = numbers.choice(
            [(100, 108), (108, 116), (116, 124), (124, 136), (136, 148), (329, 337), (156, 157)]
        )
        data[block + start : block + end] = numbers.randbytes(end - start)
    elif choice == 2:
        other = numbers.randrange(len(data) // 512) * 512
        data[block : block + 512] = data[other : other + 512]
    elif choice == 3:
        data[block + 156] = numbers.choice(b"01234567xgLKSZ\0")
    else:
        data[block : block + 100] = numbers.choice([b"../x", b"/", b".", b"a/../../b", b".wh.x", b"d", b"l"]).ljust(
            100, b"\0"
        )
    if numbers.random() < 0.9:
        data[block + 148 : block + 156] = b" " * 8
        data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
