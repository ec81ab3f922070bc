"""Reading tar streams that nobody vouches for: ustar, PAX, GNU long names, and all forms of sparse files. Pure.

Bytes in, entries out; no file is touched (store/extract.py does). Everything is bounded: what PAX records and long
names say of one member by 1 MiB, a sparse map by 100,000 pieces, numbers by 63 bits. Names are bytes, as in the kernel.
Sources: POSIX.1-2001 pax, the GNU tar manual ("Basic Tar Format", "Sparse Formats").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol
from zlib import adler32

from corten.errors import InvalidArgument

_BLOCK = 512
_CHUNK = 1 << 20
_META_LIMIT = 1 << 20
_SPARSE_LIMIT = 100_000
_NUMBER_LIMIT = 1 << 63
_XATTR = b"SCHILY.xattr."
_KINDS = {
    b"0": "file", b"\0": "file", b"7": "file", b"S": "file", b"1": "hardlink", b"2": "symlink", b"3": "char",
    b"4": "block", b"5": "directory", b"6": "fifo",
}  # fmt: skip


class InvalidTar(InvalidArgument):
    """The stream is no tar, is cut off, or asks for more than the bounds allow."""

    code = "invalid-tar"


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at the end."""


@dataclass(slots=True)
class Entry:
    """One member. `size` is its length in a file system; `pieces` are (offset, length) of a sparse file's data."""

    name: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    pieces: list[tuple[int, int]] | None = None
    user: bytes = b""
    group: bytes = b""


class TarReader:
    """Iterate for entries; `data()` gives the bytes of the last one, what is not read is skipped."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._buffer = b""
        self._position = 0
        self._taken = 0  # bytes of the source that were asked for, the buffered ones included
        self._left = 0  # bytes of the current member's data that are not read yet
        self._padding = 0
        self._globals: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry

    @property
    def offset(self) -> int:
        """Where in the stream the next byte stands: for an entry just given, the first of its stored data."""
        return self._taken - len(self._buffer) + self._position

    # -- bytes

    def _more(self) -> bytes:
        data = self._source.read(_CHUNK)
        self._taken += len(data)
        return data

    def _take(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end of the stream; `size` is bounded by the callers."""
        end = self._position + size
        if end <= len(self._buffer):
            data = self._buffer[self._position : end]
            self._position = end
            return data
        parts = [self._buffer[self._position :]]
        missing = size - len(parts[0])
        self._buffer, self._position = b"", 0
        while missing > 0:
            data = self._more()
            if not data:
                break
            parts.append(data[:missing])
            if len(data) > missing:
                self._buffer, self._position = data, missing
            missing -= len(data)
        return b"".join(parts)

    def _exactly(self, size: int) -> bytes:
        data = self._take(size)
        if len(data) != size:
            raise InvalidTar("unexpected EOF")
        return data

    def data(self) -> Iterator[bytes]:
        """The stored bytes of the current member, in pieces of at most a megabyte. Raises InvalidTar when cut off."""
        while self._left:
            chunk = self._exactly(min(self._left, _CHUNK))
            self._left -= len(chunk)
            yield chunk

    def _skip(self) -> None:
        """Pass over what is left of the member, without a copy."""
        left, self._left, self._padding = self._left + self._padding, 0, 0
        while left > len(self._buffer) - self._position:
            left -= len(self._buffer) - self._position
            self._buffer, self._position = self._more(), 0
            if not self._buffer:
                raise InvalidTar("unexpected EOF")
        self._position += left

    # -- headers

    def _next(self) -> Entry | None:
        self._skip()
        pax = dict(self._globals)
        name = link = b""
        about = 0  # bytes of headers that speak of the same member
        while True:
            block = self._take(_BLOCK)
            if len(block) < _BLOCK or not block.strip(b"\0"):
                if block and len(block) < _BLOCK:
                    raise InvalidTar("unexpected EOF")
                self._drain()
                return None
            size = self._check(block)
            kind = block[156:157]
            if kind in b"xgLK" and kind:
                about += size + _BLOCK
                if about > _META_LIMIT:
                    raise InvalidTar(f"a header of {about} bytes is too large (limit {_META_LIMIT})")
                data = self._exactly(size)
                self._exactly(-size % _BLOCK)
                if kind == b"x":
                    pax.update(parse_pax(data))
                elif kind == b"g":
                    self._globals.update(parse_pax(data))
                    if sum(len(key) + len(value) for key, value in self._globals.items()) > _META_LIMIT:
                        raise InvalidTar("the global headers are too large")
                    pax.update(self._globals)
                elif kind == b"L":
                    name = data.rstrip(b"\0")
                else:
                    link = data.rstrip(b"\0")
                continue
            return self._entry(block, kind, size, pax, name, link)

    def _drain(self) -> None:
        """Read what follows the end mark, so that whoever hashes the stream sees all of it."""
        while self._more():
            pass

    @staticmethod
    def _check(block: bytes) -> int:
        """Verify the header's checksum (signed sums of old tars too) and return its size field."""
        try:
            wanted = int(block[148:156].strip(b" \0") or b"0", 8)
        except ValueError:
            raise InvalidTar("archive/tar: invalid tar header") from None
        # Adler-32 holds the sum of the bytes, modulo a prime that no header of text exceeds, at a tenth of its price.
        if (adler32(block[156:], adler32(block[:148])) + 255) & 0xFFFF == wanted:
            return number(block[124:136])
        total = sum(block) - sum(block[148:156]) + 256
        if wanted != total and wanted != total - 256 * sum(1 for byte in block[:148] + block[156:] if byte > 127):
            raise InvalidTar("archive/tar: invalid tar header")
        return number(block[124:136])

    def _entry(self, block: bytes, kind: bytes, size: int, pax: dict[bytes, bytes], name: bytes, link: bytes) -> Entry:
        if kind not in _KINDS:
            raise InvalidTar(f"unknown kind of tar entry {kind!r}")
        size = _pax_number(pax, b"size", size)
        plain = _KINDS[kind]
        stored = size if plain == "file" else 0
        if not name:
            name = _text(block[:100])
            if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
                name = prefix + b"/" + name
        name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or name
        if plain == "file" and kind in b"0\0" and name.endswith(b"/"):
            plain = "directory"  # as tars from before POSIX say it
        entry = Entry(
            name=name,
            kind=plain,
            mode=number(block[100:108]) & 0o7777,
            uid=_pax_number(pax, b"uid", number(block[108:116])),
            gid=_pax_number(pax, b"gid", number(block[116:124])),
            size=stored if plain == "file" else 0,
            mtime_ns=_time(pax.get(b"mtime"), number(block[136:148], signed=True)),
            link=pax.get(b"linkpath") or link or _text(block[157:257]),
            user=pax.get(b"uname") or _text(block[265:297]),
            group=pax.get(b"gname") or _text(block[297:329]),
        )
        if plain in ("char", "block"):
            entry.device = (number(block[329:337]), number(block[337:345]))
        self._left, self._padding = stored, -stored % _BLOCK
        for key, value in pax.items():
            if key.startswith(_XATTR):
                entry.xattrs[key[len(_XATTR) :]] = value
        if plain == "file":
            self._sparse(entry, kind, block, pax)
        if b"\0" in entry.name or b"\0" in entry.link or any(b"\0" in key for key in entry.xattrs):
            raise InvalidTar("a name holds a NUL byte")
        return entry

    # -- sparse files

    def _sparse(self, entry: Entry, kind: bytes, block: bytes, pax: dict[bytes, bytes]) -> None:
        pieces: list[tuple[int, int]] | None = None
        real = entry.size
        if kind == b"S":
            pieces, real = self._old_gnu_map(block)
        elif pax.get(b"GNU.sparse.major") == b"1" and pax.get(b"GNU.sparse.minor") == b"0":
            pieces = self._inline_map()
            real = _pax_number(pax, b"GNU.sparse.realsize", 0)
        elif b"GNU.sparse.map" in pax:
            numbers = [_decimal(word) for word in pax[b"GNU.sparse.map"].split(b",") if word]
            pieces = list(zip(numbers[::2], numbers[1::2], strict=False))
            real = _pax_number(pax, b"GNU.sparse.size", 0)
        if pieces is None:
            return
        _check_pieces(pieces, real, self._left)
        entry.pieces, entry.size = [piece for piece in pieces if piece[1]], real

    def _old_gnu_map(self, block: bytes) -> tuple[list[tuple[int, int]], int]:
        pieces = _pairs(block[386:482])
        more, real = block[482], number(block[483:495])
        while more:
            block = self._exactly(_BLOCK)
            pieces += _pairs(block[:504])
            more = block[504]
            if len(pieces) > _SPARSE_LIMIT:
                raise InvalidTar("a sparse file of too many pieces")
        return pieces, real

    def _inline_map(self) -> list[tuple[int, int]]:
        """PAX 1.0: the map stands before the data, as decimal lines padded to a block."""
        numbers: list[int] = []
        wanted, rest = -1, b""
        while wanted < 0 or len(numbers) < wanted:
            if self._left < _BLOCK:
                raise InvalidTar("a sparse map is cut off")
            rest += self._exactly(_BLOCK)
            self._left -= _BLOCK
            *lines, rest = rest.split(b"\n")
            for line in lines:
                if wanted < 0:
                    wanted = _decimal(line) * 2
                    if wanted > _SPARSE_LIMIT * 2:
                        raise InvalidTar("a sparse file of too many pieces")
                elif len(numbers) < wanted:
                    numbers.append(_decimal(line))
            if len(rest) > _BLOCK:
                raise InvalidTar("a sparse map is no map")
        return list(zip(numbers[::2], numbers[1::2], strict=True))


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE\\n` of a PAX header. Sparse 0.0, which repeats keys, becomes a 0.1 map."""
    records: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    position = 0
    while position < len(data) and data[position]:
        blank = data.find(b" ", position, position + 20)
        length = _decimal(data[position:blank]) if blank > 0 else 0
        record = data[blank + 1 : position + length]
        whole = blank - position < length <= len(data) - position
        if not whole or not record.endswith(b"\n") or b"=" not in record:
            raise InvalidTar("invalid PAX record")
        key, _equals, value = record[:-1].partition(b"=")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(value)
        else:
            records[key] = value
        position += length
    if pairs:
        records[b"GNU.sparse.map"] = b",".join(pairs)
    return records


@lru_cache(maxsize=4096)  # modes, owners and times are the same few all over a tar
def number(field_bytes: bytes, *, signed: bool = False) -> int:
    """An octal field, or GNU's base-256. Raises InvalidTar outside 63 bits, or below zero unless `signed`."""
    if field_bytes and field_bytes[0] & 0x80:
        raw = bytes([field_bytes[0] & 0x7F if field_bytes[0] != 0xFF else 0xFF]) + field_bytes[1:]
        value = int.from_bytes(raw, "big", signed=field_bytes[0] == 0xFF)
    else:
        text = field_bytes.strip(b" \0")
        try:
            value = int(text, 8) if text else 0
        except ValueError:
            raise InvalidTar("invalid number in a tar header") from None
    if not (-_NUMBER_LIMIT if signed else 0) <= value < _NUMBER_LIMIT:
        raise InvalidTar("a number in a tar header is out of range")
    return value


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise InvalidTar("invalid number in a PAX record")
    value = int(text)
    if value >= _NUMBER_LIMIT:
        raise InvalidTar("a number in a PAX record is out of range")
    return value


def _pax_number(pax: dict[bytes, bytes], key: bytes, default: int) -> int:
    value = pax.get(key)
    return default if not value else _decimal(value)


def _time(text: bytes | None, seconds: int) -> int:
    if not text:
        return seconds * 1_000_000_000
    negative, text = text.startswith(b"-"), text.lstrip(b"-")
    whole, _dot, fraction = text.partition(b".")
    value = _decimal(whole or b"0") * 1_000_000_000
    if fraction:
        value += _decimal(fraction[:9].ljust(9, b"0"))
    return -value if negative else value


def _text(field_bytes: bytes) -> bytes:
    return field_bytes.split(b"\0", 1)[0]


def _pairs(data: bytes) -> list[tuple[int, int]]:
    pieces = []
    for start in range(0, len(data) - 23, 24):
        if not data[start]:
            break
        pieces.append((number(data[start : start + 12]), number(data[start + 12 : start + 24])))
    return pieces


def _check_pieces(pieces: list[tuple[int, int]], real: int, stored: int) -> None:
    end = total = 0
    if len(pieces) > _SPARSE_LIMIT:
        raise InvalidTar("a sparse file of too many pieces")
    for offset, length in pieces:
        if offset < end or offset + length > real:
            raise InvalidTar("a sparse map is no map")
        end, total = offset + length, total + length
    if total > stored:
        raise InvalidTar("a sparse map names more data than there is")
