"""Layers and archives as uncompressed streams, whatever they were compressed with; optionally verified. Blocking.

Disk and net threads. The kind is told by the first bytes, not by names or media types, as Docker does. Everything runs
in this process: no helper program is ever looked up. Output is bounded by what is asked for, so that a bomb costs time,
not memory. gzip of many members (eStargz) and zstd of many frames (zstd:chunked) are read to their ends.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
from typing import Any, Literal, Protocol

import zstandard
from isal import isal_zlib

from corten.errors import DataLoss

Compression = Literal["", "gzip", "zstd", "bzip2", "xz"]
_IN = 256 << 10
_OUT = 1 << 20
_ZSTD_WINDOW = 128 << 20
_XZ_MEMORY = 256 << 20
_GZIP_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # the stub names an instance
_GZIP_MEMBER = 31  # zlib's window bits for a gzip wrapper (zlib.h, inflateInit2)


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""


def compression_of(start: bytes) -> Compression:
    """What a stream that begins with `start` (10 bytes are enough) is compressed with."""
    if start.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if start.startswith(b"\x28\xb5\x2f\xfd") or (start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F):
        return "zstd"
    if start.startswith(b"BZh"):
        return "bzip2"
    if start.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    return ""


class TarStream(io.RawIOBase):
    """The uncompressed bytes of `source`; with `diff_id`, the end comes only if they hash to it, else DataLoss.

    Whoever unpacks must read to the end, and commit what was unpacked only then.
    """

    def __init__(self, source: Readable, *, diff_id: str = "") -> None:
        start = b""
        while len(start) < 16 and (more := source.read(16 - len(start))):
            start += more
        self.compression = compression_of(start)
        self._source = _open(_Pushback(start, source), self.compression)
        self._hash = hashlib.sha256()
        self._diff_id = diff_id
        self._ended = False
        self.size = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as one step of decompression gives bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; raises DataLoss for a damaged stream, or at the end for a wrong digest."""
        if self._ended:
            return b""
        try:
            data = self._source.read(size if 0 <= size <= _OUT else _OUT) if size else b""
        except (_GZIP_ERROR, EOFError, OSError, lzma.LZMAError, zstandard.ZstdError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise DataLoss(f"damaged {self.compression or 'tar'} stream: {error}") from error
        if data:
            self._hash.update(data)
            self.size += len(data)
        elif size:
            self._ended = True
            if self._diff_id and self.digest != self._diff_id:
                raise DataLoss(f"layer verification failed: diff id is {self.digest}, expected {self._diff_id}")
        return data

    @property
    def digest(self) -> str:
        """The digest of what was read so far: the diffID at the end."""
        return "sha256:" + self._hash.hexdigest()

    def drain(self) -> None:
        """Read what is left."""
        while self.read(_OUT):
            pass


class _Pushback:
    def __init__(self, start: bytes, source: Readable) -> None:
        self._start = start
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        if self._start:
            data, self._start = (self._start, b"") if size < 0 else (self._start[:size], self._start[size:])
            return data
        return self._source.read(size)


class _Gzip:
    """One gzip member after another; trailing zeros between or behind them are padding."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._member: Any = isal_zlib.decompressobj(wbits=_GZIP_MEMBER)
        self._input = b""

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if self._member.eof:
                rest = self._member.unused_data.lstrip(b"\0")
                while not rest:
                    more = self._source.read(_IN)
                    if not more:
                        return b""
                    rest = more.lstrip(b"\0")
                self._member, self._input = isal_zlib.decompressobj(wbits=_GZIP_MEMBER), rest
            if not self._input:
                self._input = self._source.read(_IN)
                if not self._input:
                    raise EOFError("unexpected end of the compressed stream")
            data: bytes = self._member.decompress(self._input, size)
            self._input = b"" if self._member.eof else self._member.unconsumed_tail
            if data:
                return data


class _Lzma:
    """bzip2 or xz, stream after stream, never more output than asked for."""

    def __init__(self, source: Readable, *, xz: bool) -> None:
        self._source = source
        self._xz = xz
        self._decoder = self._new()

    def _new(self) -> Any:
        return lzma.LZMADecompressor(memlimit=_XZ_MEMORY) if self._xz else bz2.BZ2Decompressor()

    def read(self, size: int = -1, /) -> bytes:
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0")
                while not rest:
                    more = self._source.read(_IN)
                    if not more:
                        return b""
                    rest = more.lstrip(b"\0")
                self._decoder = self._new()
                data: bytes = self._decoder.decompress(rest, size)
            else:
                feed = self._source.read(_IN) if self._decoder.needs_input else b""
                if not feed and self._decoder.needs_input:
                    raise EOFError("unexpected end of the compressed stream")
                data = self._decoder.decompress(feed, size)
            if data:
                return data


def _open(source: Readable, compression: Compression) -> Readable:
    if compression == "gzip":
        return _Gzip(source)
    if compression == "zstd":
        decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        stream: Readable = decoder.stream_reader(source, read_across_frames=True)  # type: ignore[arg-type]
        return stream
    if compression in {"bzip2", "xz"}:
        return _Lzma(source, xz=compression == "xz")
    return source
