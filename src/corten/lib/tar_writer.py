"""Writing tar streams: ustar headers, with PAX records for what does not fit them. Pure: bytes go to a function.

PAX carries long names, large numbers, times with nanoseconds and extended attributes (`SCHILY.xattr.`), as Docker and
GNU tar write and read them (POSIX.1-2001 pax).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from corten.lib.tar import Entry

_BLOCK = 512
_TYPES = {"file": b"0", "hardlink": b"1", "symlink": b"2", "char": b"3", "block": b"4", "directory": b"5", "fifo": b"6"}
_BLANK_SUM = 8 * ord(" ")  # the checksum counts itself as spaces
_NUMBER_LIMIT = 0o7777777
_SIZE_LIMIT = 0o77777777777


class TarWriter:
    """Writes members one after the other; `finish` ends the archive."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def add(self, entry: Entry, data: Iterable[bytes] = ()) -> None:
        """One member; `data` must give exactly `entry.size` bytes for a file. Raises ValueError when it does not."""
        records = _pax_records(entry)
        if records:
            body = b"".join(map(_pax_record, records))
            self._write(_header(Entry(b"PaxHeaders.0/x", "file", 0o644, 0, 0, len(body), 0), b"x", len(body)))
            self._write(body + b"\0" * (-len(body) % _BLOCK))
        size = entry.size if entry.kind == "file" else 0
        self._write(_header(entry, _TYPES[entry.kind], size))
        left = size
        for chunk in data:
            self._write(chunk)
            left -= len(chunk)
        if left:
            raise ValueError(f"{entry.name!r}: the data is {left} bytes shorter than its size")
        if size % _BLOCK:
            self._write(b"\0" * (-size % _BLOCK))

    def finish(self) -> None:
        """Two empty blocks."""
        self._write(b"\0" * (2 * _BLOCK))


def _pax_records(entry: Entry) -> list[tuple[bytes, bytes]]:
    records: list[tuple[bytes, bytes]] = []
    if len(entry.name) > 100 or not entry.name.isascii():
        records.append((b"path", entry.name))
    if len(entry.link) > 100 or not entry.link.isascii():
        records.append((b"linkpath", entry.link))
    for key, value, limit in ((b"uid", entry.uid, _NUMBER_LIMIT), (b"gid", entry.gid, _NUMBER_LIMIT)):
        if value > limit:
            records.append((key, b"%d" % value))
    if entry.kind == "file" and entry.size > _SIZE_LIMIT:
        records.append((b"size", b"%d" % entry.size))
    seconds, nanoseconds = divmod(entry.mtime_ns, 1_000_000_000)
    if nanoseconds or not 0 <= seconds <= _SIZE_LIMIT:
        sign, total = (b"-", -entry.mtime_ns) if entry.mtime_ns < 0 else (b"", entry.mtime_ns)
        records.append((b"mtime", b"%s%d.%09d" % (sign, *divmod(total, 1_000_000_000))))
    records += [(b"SCHILY.xattr." + name, value) for name, value in sorted(entry.xattrs.items())]
    return records


def _pax_record(record: tuple[bytes, bytes]) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself."""
    body = b" %s=%s\n" % record
    length = len(body) + len(str(len(body)))
    if len(str(length)) != len(str(len(body))):
        length += 1
    return b"%d%s" % (length, body)


def _header(entry: Entry, kind: bytes, size: int) -> bytes:
    seconds = min(max(entry.mtime_ns // 1_000_000_000, 0), _SIZE_LIMIT)
    name = entry.name[:100]
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        entry.mode & 0o7777,
        min(entry.uid, _NUMBER_LIMIT),
        min(entry.gid, _NUMBER_LIMIT),
        min(size, _SIZE_LIMIT),
        seconds,
    )
    rest, rest_sum = _rest(kind, entry.link[:100], entry.user[:31], entry.group[:31], entry.device)
    checksum = sum(name) + sum(numbers) + _BLANK_SUM + rest_sum
    return b"%b%b%06o\0 %b" % (name.ljust(100, b"\0"), numbers, checksum, rest)


@lru_cache(maxsize=256)
def _rest(kind: bytes, link: bytes, user: bytes, group: bytes, device: tuple[int, int]) -> tuple[bytes, int]:
    """What stands behind the checksum, and its own sum: the same for most members."""
    fields = [
        kind,
        link.ljust(100, b"\0"),
        b"ustar\x0000",
        user.ljust(32, b"\0"),
        group.ljust(32, b"\0"),
        b"%07o\0" % min(device[0], _NUMBER_LIMIT),
        b"%07o\0" % min(device[1], _NUMBER_LIMIT),
    ]
    block = b"".join(fields).ljust(_BLOCK - 156, b"\0")
    return block, sum(block)
