"""fsutil's messages to bytes and back: packets, and what they tell of a file. Pure; daemon.

A transfer has one packet a file at least, so they are read by hand here rather than by the general codec: an entry that
is known already is told by the bytes of its `stat` and not taken apart at all. Whoever sent them is a stranger.

    Packet  type=1 (0 STAT, 1 REQ, 2 DATA, 3 FIN, 4 ERR)  stat=2  ID=3  data=4
    Stat    path=1 mode=2 uid=3 gid=4 size=5 modTime=6 linkname=7 devmajor=8 devminor=9 xattrs=10

Source: types/wire.proto and types/stat.proto of github.com/tonistiigi/fsutil.
"""

from __future__ import annotations

from typing import NamedTuple

from corten.errors import InvalidArgument

STAT, REQ, DATA, FIN, ERR = range(5)
_XATTRS_LIMIT = 256
_FIELDS = 1024  # in one message, those included that are not known: a client may send 16 MiB of them
_WORD = (1 << 64) - 1


class BadPacket(InvalidArgument):
    """Bytes that are no message of a transfer, or one that must not come here."""

    code = "file-transfer-malformed"


class Packet(NamedTuple):
    """One message; `stat` is the bytes of a Stat, None without one."""

    type: int
    stat: bytes | None = None
    id: int = 0
    data: bytes = b""


class Stat(NamedTuple):
    """What is told of a file. `mode` is Go's os.FileMode, `mtime_ns` nanoseconds since 1970."""

    path: bytes = b""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    linkname: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[bytes, bytes], ...] = ()


# -- reading


def decode_packet(data: bytes) -> Packet:
    """Raises BadPacket."""
    kind = number = at = fields = 0
    stat: bytes | None = None
    payload = b""
    end = len(data)
    while at < end:
        fields += 1
        if fields > _FIELDS:
            raise BadPacket("the client sent a packet with too many fields")
        tag = data[at]
        at += 1
        if tag == 0x12:
            start, at = _span(data, at)
            stat = data[start:at]
        elif tag == 0x22:
            start, at = _span(data, at)
            payload = data[start:at]
        elif tag == 0x08:
            kind, at = _varint(data, at)
        elif tag == 0x18:
            number, at = _varint(data, at)
        else:
            at = _skipped(data, at - 1)
    if kind > ERR or number > 0xFFFFFFFF:
        raise BadPacket("the client sent a packet of an unknown kind")
    return Packet(kind, stat, number, payload)


_STAT_NUMBERS = {2: "mode", 3: "uid", 4: "gid", 5: "size", 6: "mtime_ns", 8: "major", 9: "minor"}
_SIGNED = frozenset({5, 6, 8, 9})


def decode_stat(data: bytes) -> Stat:
    """Raises BadPacket."""
    texts: dict[int, bytes] = {}
    numbers: dict[str, int] = {}
    xattrs: dict[bytes, bytes] = {}
    at, end, fields = 0, len(data), 0
    while at < end:
        fields += 1
        if fields > _FIELDS:
            raise BadPacket("the client sent a file with too many fields")
        tag, after = _varint(data, at)
        number, form = tag >> 3, tag & 7
        name = _STAT_NUMBERS.get(number)
        if form == 0 and name is not None:
            value, at = _varint(data, after)
            if number in _SIGNED:
                value -= (1 << 64) if value >> 63 else 0
            else:
                value &= 0xFFFFFFFF
            numbers[name] = value
        elif form == 2 and number in (1, 7, 10):
            start, at = _span(data, after)
            if number == 10:
                _put_xattr(xattrs, data[start:at])
            else:
                texts[number] = data[start:at]
        else:
            at = _skipped(data, at)
    return Stat(path=texts.get(1, b""), linkname=texts.get(7, b""), xattrs=tuple(sorted(xattrs.items())), **numbers)


def _put_xattr(xattrs: dict[bytes, bytes], entry: bytes) -> None:
    if len(xattrs) >= _XATTRS_LIMIT:
        raise BadPacket(f"the client sent a file with more than {_XATTRS_LIMIT} extended attributes")
    parts = {1: b"", 2: b""}
    at = fields = 0
    while at < len(entry):
        fields += 1
        if fields > _FIELDS:
            raise BadPacket("the client sent an extended attribute with too many fields")
        tag, after = _varint(entry, at)
        if tag in (0x0A, 0x12):
            start, at = _span(entry, after)
            parts[tag >> 3] = entry[start:at]
        else:
            at = _skipped(entry, at)
    xattrs[parts[1]] = parts[2]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & _WORD, at
            shift += 7
    except IndexError:
        pass
    raise BadPacket("the client sent a packet with a broken number")


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Where bytes whose length stands at `at` begin and end."""
    size, start = _varint(data, at)
    if start + size > len(data):
        raise BadPacket("the client sent a packet that ends too early")
    return start, start + size


def _skipped(data: bytes, at: int) -> int:
    """Where a field that is not known ends."""
    tag, at = _varint(data, at)
    form = tag & 7
    if form == 0:
        return _varint(data, at)[1]
    if form == 2:
        return _span(data, at)[1]
    if form in (1, 5) and at + (8 if form == 1 else 4) <= len(data):
        return at + (8 if form == 1 else 4)
    raise BadPacket("the client sent a packet with a broken field")


# -- writing


def encode_packet(packet: Packet) -> bytes:
    """The bytes; what is zero is left out."""
    out = bytearray()
    _put_number(1, packet.type, out)
    if packet.stat is not None:
        _put_bytes(2, packet.stat, out)
    _put_number(3, packet.id, out)
    if packet.data:
        _put_bytes(4, packet.data, out)
    return bytes(out)


def encode_stat(stat: Stat) -> bytes:
    """The bytes; what is zero or empty is left out."""
    out = bytearray()
    if stat.path:
        _put_bytes(1, stat.path, out)
    for number, name in ((2, "mode"), (3, "uid"), (4, "gid"), (5, "size"), (6, "mtime_ns")):
        _put_number(number, getattr(stat, name), out)
    if stat.linkname:
        _put_bytes(7, stat.linkname, out)
    _put_number(8, stat.major, out)
    _put_number(9, stat.minor, out)
    for key, value in stat.xattrs:
        entry = bytearray()
        _put_bytes(1, key, entry)
        _put_bytes(2, value, entry)
        _put_bytes(10, entry, out)
    return bytes(out)


def _put_number(number: int, value: int, out: bytearray) -> None:
    if value:
        out.append(number << 3)
        _put_varint(value & _WORD, out)


def _put_bytes(number: int, data: bytes | bytearray, out: bytearray) -> None:
    out.append(number << 3 | 2)
    _put_varint(len(data), out)
    out += data


def _put_varint(value: int, out: bytearray) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
