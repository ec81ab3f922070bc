"""EROFS' on-disk structures, as bytes. Pure.

Little endian; names and values are those of fs/erofs/erofs_fs.h in Linux. What Corten needs of it: 512-byte blocks
(Linux 6.4), extended inodes, plain and inline data, chunks with holes, inline xattrs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

BLOCK_BITS = 9
BLOCK = 1 << BLOCK_BITS
DATA_START = 4096  # where the tar begins
SLOT = 32  # inodes are addressed by these: byte = meta start + nid * SLOT
INODE_SIZE = 64
MAX_BLOCKS = (1 << 32) - 1  # the largest number means a hole
HOLE = 0xFFFFFFFF

# Where an inode's data is (i_format >> 1).
FLAT_PLAIN = 0
FLAT_INLINE = 2
CHUNK_BASED = 4

# Types in directories (fs_types.h), by the upper four bits of a mode.
REGULAR, DIRECTORY, CHARACTER, BLOCK_DEVICE, FIFO, SOCKET, SYMLINK = 1, 2, 3, 4, 5, 6, 7
FILE_TYPES = {0o10: REGULAR, 0o4: DIRECTORY, 0o2: CHARACTER, 0o6: BLOCK_DEVICE, 0o1: FIFO, 0o14: SOCKET, 0o12: SYMLINK}

_MAGIC = 0xE0F5E1E2
_COMPAT_MTIME = 0x2
_INCOMPAT_CHUNKED = 0x4
_CHUNK_INDEXES = 0x20
_SUPERBLOCK = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB23x")
_DIRENT = struct.Struct("<QHBB")
_XATTR_ENTRY = struct.Struct("<BBH")
_CHUNK_INDEX = struct.Struct("<HHI")

# i_format, i_xattr_icount, i_mode, -, i_size, i_u, i_ino, i_uid, i_gid, i_mtime, i_mtime_nsec, i_nlink
INODE = struct.Struct("<HHHHQIIIIqII16x")

XATTR_PREFIXES = ((b"user.", 1), (b"trusted.", 4), (b"security.", 6))
XATTR_ACL = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
XATTRS_MAX = 1 << 16  # bytes of one inode's attributes; as many as listxattr(2) tells of


def superblock(*, root_nid: int, inodes: int, blocks: int, meta_block: int, time: int, chunks: bool) -> bytes:
    """The first DATA_START bytes of an image. Without a checksum: the layer's digest covers what matters."""
    packed = _SUPERBLOCK.pack(
        _MAGIC,
        0,  # checksum
        _COMPAT_MTIME,
        BLOCK_BITS,
        0,  # more slots of the superblock
        root_nid,
        inodes,
        time,
        0,
        blocks,
        meta_block,
        0,  # shared xattrs
        bytes(16),
        b"",
        _INCOMPAT_CHUNKED if chunks else 0,
        0,
        0,  # more devices
        0,
        0,
        0,
        0,
        0,
        0,
    )
    return (bytes(1024) + packed).ljust(DATA_START, b"\0")


def metadata_start(top: bytes) -> int | None:
    """Where the inodes begin in an image that begins with `top`; None if that is no superblock of this module's."""
    if len(top) < DATA_START:
        return None
    fields = _SUPERBLOCK.unpack_from(top, 1024)
    return fields[10] << BLOCK_BITS if (fields[0], fields[3]) == (_MAGIC, BLOCK_BITS) else None


def i_format(layout: int) -> int:
    """The field of an extended inode with this layout."""
    return 1 | layout << 1


def device_number(major: int, minor: int) -> int:
    """i_u of a device: Linux' new_encode_dev."""
    return (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12


def chunk_format(bits: int) -> int:
    """i_u of a file in chunks of 2**bits bytes."""
    return bits - BLOCK_BITS | _CHUNK_INDEXES


def chunk_indexes(blocks: Iterable[int]) -> bytes:
    """Where each chunk of a file begins, HOLE for none."""
    return b"".join(_CHUNK_INDEX.pack(0, 0, block) for block in blocks)


def xattr_index(name: bytes) -> tuple[int, bytes] | None:
    """(index, rest of the name) of an attribute, None for a name space that Linux does not have."""
    if name in XATTR_ACL:
        return XATTR_ACL[name], b""
    for prefix, index in XATTR_PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return index, name[len(prefix) :]
    return None


def xattr_body(attributes: Iterable[tuple[int, bytes, bytes]]) -> bytes:
    """The inline attributes of an inode: (index, rest of the name, value) each."""
    parts = [bytes(12)]
    for index, name, value in attributes:
        entry = _XATTR_ENTRY.pack(len(name), index, len(value)) + name + value
        parts.append(entry + bytes(-len(entry) % 4))
    return b"".join(parts)


def xattr_count(body: bytes) -> int:
    """i_xattr_icount of an inode with this body."""
    return (len(body) - 12) // 4 + 1 if body else 0


def directory(entries: Sequence[tuple[bytes, int, int]]) -> bytes:
    """The data of a directory of (name, nid, type), sorted by name, `.` and `..` included; not padded at its end."""
    blocks: list[bytes] = []
    start = used = 0
    for position, (name, _nid, _type) in enumerate(entries):
        need = _DIRENT.size + len(name)
        if used + need > BLOCK:
            blocks.append(_directory_block(entries[start:position]).ljust(BLOCK, b"\0"))
            start, used = position, 0
        used += need
    blocks.append(_directory_block(entries[start:]))
    return b"".join(blocks)


def _directory_block(entries: Sequence[tuple[bytes, int, int]]) -> bytes:
    offset = _DIRENT.size * len(entries)
    heads = []
    for name, nid, kind in entries:
        heads.append(_DIRENT.pack(nid, offset, kind, 0))
        offset += len(name)
    return b"".join(heads) + b"".join(name for name, _nid, _kind in entries)
