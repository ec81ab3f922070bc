"""RPM's `rpmdb.sqlite`: the headers in its one table of packages. Pure: the file is read as bytes, by no library.

An image is somebody else's, and so is its database: SQLite itself is not given it. What is walked are the pages of the
table `Packages` (hnum INTEGER PRIMARY KEY, blob BLOB), each once, and no more bytes of records than the file has: in a
sound one they lie beside each other. Sources: SQLite's "Database File Format", sections 1.6 and 2.1; RPM's
docs/manual/format_header.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from corten.build.attestations.packages.package import Package

_MAGIC = b"SQLite format 3\0"
_INTERIOR, _LEAF = 5, 13
_PAGES_LIMIT = 1 << 17
_CELL_LIMIT = 16 << 20
_CELL_LEAST = 4  # its pointer, its length and its row's number
_TAGS = {1000: "name", 1001: "version", 1002: "release", 1003: "epoch", 1011: "vendor", 1014: "license", 1020: "url",
         1022: "arch"}  # fmt: skip
_INT32, _STRING, _I18N = 4, 6, 9
_TEXT_LIMIT = 1024


class NoDatabase(ValueError):
    """The bytes are no such database, or a damaged one."""


def parse_rpm(data: bytes, check: Callable[[], None] = lambda: None) -> Iterator[Package]:
    """The packages. `check` is called for each page, and may raise. Raises NoDatabase."""
    try:
        file = _File(data, check)
        root = next((page for name, page in file.tables() if name == "Packages"), 0)
        for row in file.rows(root) if root else ():
            if len(row) > 1 and isinstance(row[1], bytes):
                found = _header(row[1])
                package = _package(found)
                if package is not None:
                    yield package
    except (struct.error, IndexError) as error:
        raise NoDatabase("it is cut off, or damaged") from error


def _package(found: dict[str, str]) -> Package | None:
    name, version = found.get("name"), found.get("version")
    if not name or not version or name == "gpg-pubkey":
        return None
    epoch, release = found.get("epoch"), found.get("release")
    return Package(
        kind="rpm",
        name=name,
        version=(f"{epoch}:" if epoch else "") + version + (f"-{release}" if release else ""),
        architecture=found.get("arch", ""),
        supplier=found.get("vendor", ""),
        license=found.get("license", ""),
        homepage=found.get("url", ""),
    )


def _header(blob: bytes) -> dict[str, str]:
    """The tags that count, of a header: two numbers, an index of four numbers each, and the data."""
    count, length = struct.unpack_from(">II", blob)
    if count * 16 + 8 + length > len(blob):
        raise NoDatabase("a header is longer than its record")
    data = blob[8 + count * 16 : 8 + count * 16 + length]
    found: dict[str, str] = {}
    for number in range(count):
        tag, kind, offset, _ = struct.unpack_from(">IIII", blob, 8 + number * 16)
        name = _TAGS.get(tag)
        if name is None:
            continue
        if kind in (_STRING, _I18N):
            end = data.find(b"\0", offset, offset + _TEXT_LIMIT)
            found[name] = data[offset : end if end >= 0 else offset + _TEXT_LIMIT].decode("utf-8", "replace")
        elif kind == _INT32:
            found[name] = str(struct.unpack_from(">I", data, offset)[0])
    return found


class _File:
    """The pages of a database; each is walked once, so that none can lead back."""

    def __init__(self, data: bytes, check: Callable[[], None]) -> None:
        if not data.startswith(_MAGIC) or len(data) < 100:
            raise NoDatabase("it does not begin as one")
        size = int(struct.unpack_from(">H", data, 16)[0])
        self._size = 65536 if size == 1 else size
        self._usable = self._size - data[20]
        if self._size < 512 or self._size & (self._size - 1) or self._usable < 480:
            raise NoDatabase("its pages have no valid size")
        self._data = data
        self._visited: set[int] = set()
        self._left = len(data)
        self._check = check

    def tables(self) -> Iterator[tuple[str, int]]:
        """Names and root pages, from the schema, which is the first page's table."""
        for row in self.rows(1):
            if len(row) >= 4 and row[0] == b"table" and isinstance(row[1], bytes) and isinstance(row[3], int):
                yield row[1].decode("utf-8", "replace"), row[3]

    def rows(self, root: int) -> Iterator[list[bytes | int | None]]:
        """The rows of a table, page by page."""
        todo = [root]
        while todo:
            number = todo.pop()
            start = self._page(number)
            header = start + (100 if number == 1 else 0)
            kind = self._data[header]
            (count,) = struct.unpack_from(">H", self._data, header + 3)
            cells = struct.unpack_from(f">{count}H", self._data, header + (12 if kind == _INTERIOR else 8))
            if kind == _INTERIOR:
                todo.append(struct.unpack_from(">I", self._data, header + 8)[0])
                todo += [struct.unpack_from(">I", self._data, start + cell)[0] for cell in reversed(cells)]
            elif kind == _LEAF:
                for cell in cells:
                    yield self._row(start + cell)
            else:
                raise NoDatabase("a page is none of a table")

    def _page(self, number: int) -> int:
        self._check()
        start = (number - 1) * self._size
        if number < 1 or start + self._size > len(self._data) or number in self._visited:
            raise NoDatabase("a page is missing, or named twice")
        self._visited.add(number)
        if len(self._visited) > _PAGES_LIMIT:
            raise NoDatabase("it has too many pages")
        return start

    def _row(self, at: int) -> list[bytes | int | None]:
        length, at = _varint(self._data, at)
        _, at = _varint(self._data, at)  # the row's number
        return _columns(self._payload(at, length))

    def _payload(self, at: int, length: int) -> bytes:
        """A cell's bytes, of which those that do not fit lie in a chain of pages (section 1.6)."""
        if length > _CELL_LIMIT:
            raise NoDatabase("a record is too large")
        self._left -= length + _CELL_LEAST
        if self._left < 0:
            raise NoDatabase("its records lie upon each other")
        most, least = self._usable - 35, (self._usable - 12) * 32 // 255 - 23
        if length <= most:
            return self._data[at : at + length]
        local = least + (length - least) % (self._usable - 4)
        local = local if local <= most else least
        parts = [self._data[at : at + local]]
        (following,) = struct.unpack_from(">I", self._data, at + local)
        left = length - local
        while left > 0:
            start = self._page(following)
            (following,) = struct.unpack_from(">I", self._data, start)
            parts.append(self._data[start + 4 : start + 4 + min(left, self._usable - 4)])
            left -= len(parts[-1])
        return b"".join(parts)


def _columns(record: bytes) -> list[bytes | int | None]:
    end, at = _varint(record, 0)
    kinds = []
    while at < end:
        kind, at = _varint(record, at)
        kinds.append(kind)
    values: list[bytes | int | None] = []
    at = end
    for kind in kinds:
        if kind >= 12:
            size = (kind - 12) // 2
            values.append(record[at : at + size])
        elif kind in (8, 9):
            size = 0
            values.append(kind - 8)
        else:
            size = (0, 1, 2, 3, 4, 6, 8, 8)[kind] if kind < 8 else 0
            values.append(int.from_bytes(record[at : at + size], "big", signed=True) if kind and kind != 7 else None)
        at += size
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where the next one begins."""
    value = 0
    for count in range(9):
        byte = data[at + count]
        if count == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            return value, at + count + 1
    raise AssertionError
