"""Packs that nobody vouches for: what is in them, and what is refused before it costs anything."""

import hashlib
import io
import itertools
import struct
import tempfile
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.build.git.error import GitError
from corten.build.git.pack import Objects, unpack
from corten.build.git.packets import FLUSH, Marker, PacketReader, line, packet
from corten.build.git.remote import Remote, connect

BLOB, OFS, REF = 3, 6, 7


def head(kind, size):
    byte, size = (kind << 4) | (size & 15), size >> 4
    out = bytearray()
    while size:
        out.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    return bytes([*out, byte])


def number(value):
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    return bytes([*out, value])


def distance(value):
    out = [value & 0x7F]
    while value := value >> 7:
        value -= 1
        out.append((value & 0x7F) | 0x80)
    return bytes(reversed(out))


def pack_of(*entries, count=None):
    data = b"PACK" + struct.pack(">II", 2, len(entries) if count is None else count) + b"".join(entries)
    return data + hashlib.sha1(data, usedforsecurity=False).digest()


def blob(data, size=None):
    return head(BLOB, len(data) if size is None else size) + zlib.compress(data)


def blob_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).digest()


def copy(offset, size):
    return bytes([0xFF]) + struct.pack("<I", offset) + struct.pack("<I", size)[:3]


def delta(base_size, size, *instructions):
    return number(base_size) + number(size) + b"".join(instructions)


def read(data, *, room=1 << 20):
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        objects = Objects(tempfile.TemporaryFile(), "sha1", room=room, check=lambda: None)
        try:
            unpack(file, objects)
            return {oid: b"".join(objects.chunks(stored)) for oid, stored in objects.by_id.items()}
        finally:
            objects.close()


@given(st.lists(st.binary(max_size=300), max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_objects_and_deltas_on_them_come_out_whole(blobs, data):
    entries, expected, places, at = [], {}, [], 12
    for content in blobs:
        if places and data.draw(st.booleans()):
            offset, base = data.draw(st.sampled_from(places))
            start = data.draw(st.integers(0, len(base)))
            part = base[start : start + data.draw(st.integers(0, 200))]
            made = content[:100] + part
            steps = [bytes([len(content[:100])]) + content[:100]] if content else []
            text = delta(len(base), len(made), *steps, *([copy(start, len(part))] if part else []))
            named = distance(at - offset) if data.draw(st.booleans()) else None
            entry = head(OFS if named else REF, len(text)) + (named or blob_id(base)) + zlib.compress(text)
        else:
            made, entry = content, blob(content)
        entries.append(entry)
        expected[blob_id(made)] = made
        places.append((at, made))
        at += len(entry)
    assert read(pack_of(*entries)) == expected


@given(st.binary(min_size=1, max_size=200), st.integers(0, 400), st.integers(1, 255))
@settings(deadline=None)
def test_a_damaged_pack_is_refused_and_nothing_else(content, at, bits):
    data = bytearray(pack_of(blob(content), blob(content[:10])))
    data[at % (len(data) - 20)] ^= bits
    with pytest.raises(GitError):
        read(bytes(data))  # its checksum
    data[-20:] = hashlib.sha1(data[:-20], usedforsecurity=False).digest()
    try:
        for oid, text in read(bytes(data)).items():
            assert oid == blob_id(text) or oid not in (blob_id(content), blob_id(content[:10]))
    except GitError:
        pass


BASE = b"0123456789"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"PACK", "cut off"),
        (pack_of(count=1), "cut off"),
        (pack_of(blob(b"a"), count=0), "behind its last object"),
        (pack_of(count=2_000_000_000), "more than the limit"),
        (pack_of(blob(b"abc", size=2)), "another size"),
        (pack_of(blob(b"abc", size=4)), "another size"),
        (pack_of(blob(b"\0" * 5_000_000, size=10)), "another size"),
        (pack_of(blob(b"x", size=1 << 30)), "disk has to spare"),
        (pack_of(blob(b"x", size=1 << 59)), "larger than any disk"),
        (pack_of(head(5, 1) + zlib.compress(b"x")), "no known kind"),
        (pack_of(head(0, 1) + zlib.compress(b"x")), "no known kind"),
        (pack_of(head(REF, 3) + b"\1" * 20 + zlib.compress(b"abc")), "lacks what its deltas stand on"),
        (pack_of(head(OFS, 3) + distance(5) + zlib.compress(b"abc")), "lacks what its deltas stand on"),
        (pack_of(blob(BASE), head(REF, 12) + blob_id(BASE) + zlib.compress(delta(10, 5, copy(8, 5)))), "another size"),
        *(
            (pack_of(blob(BASE), head(REF, len(text)) + blob_id(BASE) + zlib.compress(text)), reason)
            for text, reason in (
                (delta(10, 5, copy(8, 5)), "past its base"),
                (delta(9, 5, copy(0, 5)), "another base"),
                (delta(10, 5, b"\0"), "unknown instruction"),
                (delta(10, 5, b"\5ab"), "cut off"),
                (delta(10, 5, copy(0, 4)), "another size"),
                (delta(10, 5, copy(0, 6)), "another size"),
                (delta(10, 1 << 40, *[copy(0, 10)] * 9), "disk has to spare"),
                (b"\xff" * 20, "impossible size"),
            )
        ),
    ],
)
def test_what_no_pack_says_is_refused(data, reason):
    with pytest.raises(GitError, match=reason):
        read(data)


def test_a_bomb_of_zeros_costs_no_memory():
    bomb = pack_of(blob(b"\0" * (32 << 20)))
    assert len(bomb) < 40_000
    tracemalloc.start()
    try:
        with pytest.raises(GitError, match="disk has to spare"):
            read(bomb, room=16 << 20)
        with tempfile.TemporaryFile() as file:
            file.write(bomb)
            file.flush()
            objects = Objects(tempfile.TemporaryFile(), "sha1", room=64 << 20, check=lambda: None)
            unpack(file, objects)
            objects.close()
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_a_long_chain_of_deltas_needs_no_stack():
    entries, base = [blob(BASE)], BASE
    for turn in range(3000):
        made = base[1:] + bytes([turn % 251])
        text = delta(10, 10, copy(1, 9), b"\1" + made[-1:])
        entries.append(head(REF, len(text)) + blob_id(base) + zlib.compress(text))
        base = made
    assert blob_id(base) in read(pack_of(*entries))


# -- what servers say


class Said:
    def __init__(self, *answers):
        self.answers = [PacketReader([answer]) for answer in answers]
        self.asked = []

    def greeting(self):
        return self.answers.pop(0)

    def ask(self, request):
        self.asked.append(request)
        return self.answers.pop(0) if self.answers else PacketReader([])


@given(st.lists(st.one_of(st.binary(max_size=50), st.just(None)), max_size=5), st.data())
def test_packets_are_read_whole_however_they_come(parts, data):
    raw = b"".join(FLUSH if part is None else packet(part) for part in parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    chunks = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    reader = PacketReader(chunks)
    assert [reader.read() for _ in parts] == [Marker.FLUSH if part is None else part for part in parts]
    assert reader.read() is None


@given(st.binary(max_size=100))
def test_any_bytes_of_a_server_are_an_answer_or_refused(data):
    for start in (b"", line("version 2"), line("version 2") + FLUSH):
        try:
            remote = connect(Said(start + data, data))
            remote.refs(["refs/heads/x"])
            remote.fetch(["a" * 40], io.BytesIO().write, shallow=False)
        except GitError:
            pass


def test_what_a_server_says_is_wrong_is_told():
    capabilities = {"fetch": "shallow"}
    remote = Remote(exchange=Said(line("ERR access denied\x1b[2J")), version=2, capabilities=capabilities)
    with pytest.raises(GitError, match=r"^remote error: access denied \[2J$"):
        remote.fetch(["a" * 40], io.BytesIO().write, shallow=True)
    told = Remote(exchange=Said(line("packfile") + packet(b"\3fatal: x\n")), version=2, capabilities=capabilities)
    with pytest.raises(GitError, match="remote error: fatal: x"):
        told.fetch(["a" * 40], io.BytesIO().write, shallow=True)
    cut = Remote(exchange=Said(line("packfile") + packet(b"\1PACK")), version=2, capabilities=capabilities)
    with pytest.raises(GitError, match="broke off"):
        cut.fetch(["a" * 40], io.BytesIO().write, shallow=True)


@pytest.mark.parametrize("words", [line("x" * 60_000), b"0004" * 65536])
def test_a_server_that_does_not_end_its_words_is_left(words):
    endless = itertools.repeat(words)
    with pytest.raises(GitError, match="says more than 64 MB"):
        for _ in PacketReader(endless).lines():
            pass


@pytest.mark.parametrize("object_id", ["z" * 40, "\N{SUPERSCRIPT TWO}" * 40, "A" * 40, "a" * 41])
def test_an_id_that_can_be_none_is_refused(object_id):
    said = line("version 2") + FLUSH, line(f"{object_id} refs/heads/main") + FLUSH
    with pytest.raises(GitError, match="does not speak git's protocol"):
        connect(Said(*said)).refs(["refs/heads/main"])


@pytest.mark.parametrize(
    ("target", "head"),
    [
        ("refs/heads/main", "refs/heads/main"),
        ("refs/heads/größe", "refs/heads/größe"),
        (f"refs/heads/x\n{'a' * 40}\x20refs/heads/y", ""),
        ("refs/heads/x\n^b", ""),
        ("refs/heads/../../config", ""),
    ],
)
def test_the_default_branch_has_a_name_that_git_takes(target, head):
    """It is written into the files of a .git directory."""
    said = line("version 2") + FLUSH, line(f"{'a' * 40} HEAD symref-target:{target}") + FLUSH
    assert connect(Said(*said)).refs([]).head == head
