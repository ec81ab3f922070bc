"""Decompression of every kind, to the very end, with damage and bombs noticed; and the index of an archive's files."""

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.engine.images.decompress import TarStream, compression_of
from corten.engine.images.tar_index import Section, index_tar
from corten.errors import CortenError, DataLoss, InvalidArgument

DATA = bytes(range(256)) * 3000


def zstd(data):
    return zstandard.ZstdCompressor().compress(data)


class Dribble:
    """Gives `step` bytes at a time, as a socket may."""

    def __init__(self, data, step):
        self.file = io.BytesIO(data)
        self.step = step

    def read(self, size=-1):
        return self.file.read(self.step if size < 0 else min(size, self.step))


def whole(stream, size=1 << 16):
    parts = []
    while part := stream.read(size):
        parts.append(part)
    return b"".join(parts)


PACKERS = {"": bytes, "gzip": gzip.compress, "zstd": zstd, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("step", [1 << 20, 1000, 7])
def test_every_compression_is_undone(kind, step):
    packed = PACKERS[kind](DATA)
    stream = TarStream(Dribble(packed, step), diff_id="sha256:" + hashlib.sha256(DATA).hexdigest())
    assert whole(stream) == DATA
    assert (stream.compression, stream.size) == (kind, len(DATA))


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_many_members_are_read_to_the_last(kind):
    pieces = [DATA[:1000], b"", DATA[1000:5000], DATA[5000:]]
    packed = b"".join(PACKERS[kind](piece) for piece in pieces)
    assert whole(TarStream(Dribble(packed, 333))) == DATA


def test_zstd_with_skippable_frames_is_read_to_the_last():
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    packed = skippable + zstd(DATA[:1000]) + skippable + zstd(DATA[1000:]) + skippable
    assert whole(TarStream(io.BytesIO(packed))) == DATA


def test_zeros_behind_gzip_are_padding():
    assert whole(TarStream(io.BytesIO(gzip.compress(DATA) + bytes(5000)))) == DATA


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_a_stream_that_is_cut_off_is_data_loss(kind):
    packed = PACKERS[kind](DATA)
    with pytest.raises(DataLoss):
        whole(TarStream(io.BytesIO(packed[:-9])))


@pytest.mark.parametrize("kind", PACKERS)
def test_other_content_is_noticed_at_the_end(kind):
    stream = TarStream(io.BytesIO(PACKERS[kind](DATA[:-300])), diff_id="sha256:" + hashlib.sha256(DATA).hexdigest())
    with pytest.raises(DataLoss, match="layer verification failed"):
        whole(stream)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_a_bomb_takes_no_memory(kind):
    bomb = PACKERS[kind](bytes(64 << 20))
    tracemalloc.start()
    try:
        stream = TarStream(io.BytesIO(bomb))
        while stream.read(1 << 20):
            pass
        assert stream.size == 64 << 20
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=400), st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\x00"]))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(data, start):
    try:
        whole(TarStream(io.BytesIO(start + data)))
    except DataLoss:
        assert compression_of(start + data)


def tar_with(entries, fmt=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt) as tar:
        for name, data in entries:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture
def file(tmp_path):
    def make(data):
        path = tmp_path / "archive"
        path.write_bytes(data)
        return path.open("rb")

    return make


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_are_found_by_name_in_every_format(file, fmt):
    long = "d" * 90 + "/" + "f" * 90
    entries = [("./a", b"1"), (long, b"2" * 700), ("a", b"3")]
    with file(tar_with(entries, fmt)) as opened:
        members = index_tar(opened)
        assert Section(opened, members["a"]).read() == b"3"
        assert Section(opened, members[long]).read() == b"2" * 700
        assert len(members) == 2


def test_a_huge_extended_header_is_refused(file):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("a")
        entry.pax_headers = {"comment": "x" * (2 << 20)}
        tar.addfile(entry)
    with file(buffer.getvalue()) as opened, pytest.raises(InvalidArgument, match="more than the limit"):
        index_tar(opened)


@given(st.binary(max_size=1100), st.integers(0, 1500), st.binary(min_size=1, max_size=30))
@settings(max_examples=200)
def test_any_bytes_are_an_archive_or_refused(tail, position, patch):
    data = bytearray(tar_with([("a", b"1" * 100), ("b" * 150, b"2")]) + tail)
    data[position : position + len(patch)] = patch
    with tarfile_like(bytes(data)) as opened:
        try:
            members = index_tar(opened)
        except CortenError:
            return
        for member in members.values():
            assert len(Section(opened, member).read()) == member.size


def tarfile_like(data):
    import tempfile

    opened = tempfile.TemporaryFile()
    opened.write(data)
    opened.flush()
    return opened
