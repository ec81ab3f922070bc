"""Where the regular files of a tar file lie: names to offsets, without unpacking anything. Blocking; disk threads.

Made for archives that a client loads as images: members are found by their exact names, links and devices are ignored,
so that no name can lead anywhere. Source: POSIX.1-2017 pax (ustar and extended headers) and GNU's long names.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import BinaryIO

from corten.errors import InvalidArgument
from corten.lib.tar import parse_pax

_BLOCK = 512
_META_LIMIT = 1 << 20
_MEMBER_LIMIT = 200_000
_REGULAR = {b"0", b"\0", b"7"}
_HERE = re.compile(r"\A(?:\./)+")
_META = {b"x", b"g", b"L", b"K"}


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file of the archive."""

    offset: int
    size: int


def index_tar(file: BinaryIO) -> dict[str, Member]:
    """Every regular file by name; of equal names the last counts, as when unpacking. Raises InvalidArgument."""
    end = file.seek(0, os.SEEK_END)
    members: dict[str, Member] = {}
    position, seen = 0, 0
    overrides: dict[str, str] = {}
    while position + _BLOCK <= end:
        file.seek(position)
        header = file.read(_BLOCK)
        if not header.strip(b"\0"):
            break
        _check(header)
        seen += 1
        if seen > _MEMBER_LIMIT:
            raise InvalidArgument(f"archive has more than {_MEMBER_LIMIT} members")
        kind = header[156:157]
        size = _number(header[124:136])
        if kind not in _META and "size" in overrides:
            size = int(overrides["size"])
        data = position + _BLOCK
        position = data + -(-size // _BLOCK) * _BLOCK
        if size < 0 or data + size > end:
            raise InvalidArgument("archive is cut off: unexpected EOF")
        if kind in _META and kind != b"g":
            overrides |= _meta(file, kind, size)
        elif kind != b"g":
            if kind in _REGULAR:
                members[clean_name(overrides.get("path") or _name(header))] = Member(data, size)
            overrides = {}
    return members


def clean_name(name: str) -> str:
    """The name without `./` at its start, in one go: a name may be a megabyte of them."""
    return _HERE.sub("", name, count=1)


class Section:
    """One member's bytes, as a stream of their own; keeps its own position."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        self._fd = file.fileno()
        self._position = member.offset
        self._end = member.offset + member.size

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        left = self._end - self._position
        data = os.pread(self._fd, left if size < 0 else min(size, left), self._position)
        self._position += len(data)
        return data


def _check(header: bytes) -> None:
    expected = _number(header[148:156])
    if expected != sum(header[:148]) + 8 * 32 + sum(header[156:]):
        raise InvalidArgument("archive/tar: invalid tar header")


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big") if field[0] != 0xFF else -1
    text = field.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise InvalidArgument("archive/tar: invalid tar header") from None


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return os.fsdecode(prefix + b"/" + name if prefix else name)


def _meta(file: BinaryIO, kind: bytes, size: int) -> dict[str, str]:
    if size > _META_LIMIT:
        raise InvalidArgument(f"archive has an extended header of {size} bytes, more than the limit of {_META_LIMIT}")
    data = file.read(size)
    if kind == b"L":
        return {"path": os.fsdecode(data.partition(b"\0")[0])}
    if kind == b"K":
        return {}
    found: dict[str, str] = {}
    records = parse_pax(data)
    if b"path" in records:
        found["path"] = os.fsdecode(records[b"path"])
    size_text = records.get(b"size", b"")
    if size_text.isdigit() and len(size_text) < 20:
        found["size"] = size_text.decode()
    return found
