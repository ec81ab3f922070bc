"""A layer's tree from the entries of its tar, in the order they come; nothing is written. Pure but for `inherited`.

It decides as the unpacking of the same tar does (store/extract.py, the same rules in store/entries.py): a later entry
replaces an earlier one, parents that are links of the layer are resolved inside it, whiteouts speak of lower layers.

An inode is 64 bytes in one table, already as they stand in the image; a directory is a mapping from name to child. So
a file costs some 300 bytes. How many there are, and what names, targets and attributes take, is bounded: a tar of empty
files of one letter is compressed to nothing.
"""

from __future__ import annotations

import errno
import os
import stat

from corten.lib.tar import Entry, InvalidTar
from corten.store.entries import (
    IMPLICIT,
    OPAQUE,
    WHITEOUT,
    Inherited,
    check_entry,
    hidden_by,
    kept_xattrs,
    leads_nowhere,
    leads_to_directory,
    link_source,
    no_directory,
    split_name,
)
from corten.store.erofs import layout, xattrs
from corten.store.erofs.sparse import Copy, copied, in_place

_ROOT = 0
_LINKS_MAX = 40  # as Linux follows: MAXSYMLINKS
_TARGET_MAX = 4095
_SIZE_MAX = 16 << 40  # as ext4 has it
_MEMORY_MAX = 384 << 20  # of a layer, by these estimates: 1.7 million files, or 600,000 directories with one each
_INODE_BYTES, _DIRECTORY_BYTES, _OBJECT_BYTES, _PIECE_BYTES = 80, 240, 150, 160
_NS = 1_000_000_000
_MODES = {
    "file": stat.S_IFREG, "symlink": stat.S_IFLNK, "directory": stat.S_IFDIR, "char": stat.S_IFCHR,
    "block": stat.S_IFBLK, "fifo": stat.S_IFIFO,
}  # fmt: skip
_TYPES = {kind: layout.FILE_TYPES[mode >> 12] for kind, mode in _MODES.items()}
_PLAIN, _CHUNKS = layout.i_format(layout.FLAT_PLAIN), layout.i_format(layout.CHUNK_BASED)

# A child is its inode's number and its type: number << 3 | type.
Children = dict[bytes, int]


class LayerTree:
    """Takes entries by `place`, then `finish`. `inherited` tells the attributes of directories of the layers below.

    Public for the writer: `inodes` (the table), `directories` and `parents` by inode number, and what only some inodes
    have: `xattrs`, `targets`, `chunks`, `copies`.
    """

    def __init__(self, inherited: Inherited, *, now_ns: int) -> None:
        self._inherited = inherited
        self._now_ns = now_ns
        self._saw_root = False
        self._memory = 0
        self._last: tuple[tuple[bytes, ...], int] = (), _ROOT
        self.inodes = bytearray()
        self.directories: dict[int, Children] = {}
        self.parents: dict[int, int] = {}
        self.attributes: dict[int, dict[bytes, bytes]] = {}
        self.xattrs: dict[int, bytes] = {}
        self.targets: dict[int, bytes] = {}
        self.chunks: dict[int, bytes] = {}
        self.copies: dict[int, Copy] = {}
        self.size = 0  # as linux.tree.usage counts
        self._new_directory(_ROOT, 0o755, 0, 0, now_ns)

    def place(self, entry: Entry, offset: int) -> None:
        """Take one entry; a file's data stand in the image from byte `offset` on. Raises InvalidTar, OSError."""
        path = split_name(entry.name, whiteouts=True)
        check_entry(entry)
        if not path:
            if entry.kind == "directory":
                self._saw_root = True
                self._attribute(_ROOT, entry)
            return
        name = path[-1]
        if name.startswith(WHITEOUT):
            self._whiteout(path)
            return
        parent = self._directory(path[:-1])
        if entry.kind == "directory":
            self._make_directory(parent, name, entry)
        elif entry.kind == "hardlink":
            self._link(path, parent, entry)
        else:
            self._put(parent, name, self._inode(entry, offset) << 3 | _TYPES[entry.kind])

    def finish(self) -> None:
        """All entries are here."""
        if not self._saw_root and (attributes := self._inherited(())) is not None:
            self._own(_ROOT, *attributes)

    def links(self, number: int) -> int:
        """How many names an inode has; 0 when it was replaced."""
        return int.from_bytes(self.inodes[number * 64 + 44 : number * 64 + 48], "little")

    # -- names

    def _keep(self, size: int) -> None:
        """Something of this size is kept in memory, until the layer is written."""
        self._memory += size
        if self._memory > _MEMORY_MAX:
            raise InvalidTar(
                "the layer has too many files, or too long names or attributes, "
                f"for {_MEMORY_MAX >> 20} MB of memory; {len(self.inodes) >> 6} files were read"
            )

    def _put(self, parent: int, name: bytes, child: int) -> None:
        children = self.directories[parent]
        old = children.get(name)
        if old is not None:
            self._unlink(old)
        else:
            self._keep(len(name) + _OBJECT_BYTES)
        children[name] = child

    def _unlink(self, child: int) -> None:
        """A name is gone, and with a directory all names in it."""
        self._last = (), _ROOT
        gone = [child]
        while gone:
            number = gone.pop() >> 3
            self._add_links(number, -1)
            if number in self.directories:
                gone += self.directories.pop(number).values()
                del self.parents[number]
            elif not self.links(number):
                self.size -= int.from_bytes(self.inodes[number * 64 + 8 : number * 64 + 16], "little")
                self.copies.pop(number, None)

    def _add_links(self, number: int, count: int) -> None:
        at = number * 64 + 44
        self.inodes[at : at + 4] = (self.links(number) + count).to_bytes(4, "little")

    def _directory(self, path: tuple[bytes, ...]) -> int:
        """The inode number of a directory of the layer, made if it is missing. Raises InvalidTar."""
        if path == self._last[0]:
            return self._last[1]
        number = _ROOT
        for level, name in enumerate(path):
            child = self.directories[number].get(name)
            if child is None:
                number = self._implicit_directory(number, path[: level + 1])
            elif child & 7 == layout.DIRECTORY:
                number = child >> 3
            else:
                number = self._through_link(number, child, path[: level + 1])
        self._last = path, number
        return number

    def _implicit_directory(self, parent: int, path: tuple[bytes, ...]) -> int:
        mode, uid, gid = self._inherited(path) or IMPLICIT
        number = self._new_directory(parent, mode, uid, gid, self._now_ns)
        self._put(parent, path[-1], number << 3 | layout.DIRECTORY)
        return number

    def _through_link(self, parent: int, child: int, path: tuple[bytes, ...]) -> int:
        """What a link leads to, inside the layer, as openat2(2) with RESOLVE_IN_ROOT finds it."""
        if child & 7 != layout.SYMLINK:
            raise no_directory(path, os.strerror(errno.ENOTDIR))
        left = self._names_of(child)
        number, followed = (_ROOT if self._is_absolute(child) else parent), 1
        while left:
            name = left.pop()
            if name == b"..":
                number = self.parents[number]
                continue
            found = self.directories[number].get(name)
            if found is None:
                raise no_directory(path, os.strerror(errno.ENOENT))
            if found & 7 == layout.SYMLINK:
                followed += 1
                if followed > _LINKS_MAX:
                    raise no_directory(path, os.strerror(errno.ELOOP))
                left += self._names_of(found)
                number = _ROOT if self._is_absolute(found) else number
            elif found & 7 == layout.DIRECTORY:
                number = found >> 3
            else:
                raise no_directory(path, os.strerror(errno.ENOTDIR))
        return number

    def _names_of(self, link: int) -> list[bytes]:
        """The components of a link's target, the last one first."""
        return [part for part in reversed(self.targets[link >> 3].split(b"/")) if part not in (b"", b".")]

    def _is_absolute(self, link: int) -> bool:
        return self.targets[link >> 3].startswith(b"/")

    # -- kinds

    def _whiteout(self, path: tuple[bytes, ...]) -> None:
        target = hidden_by(path[-1])
        if target is None:
            return
        parent = self._directory(path[:-1])
        if target == OPAQUE:
            self._make_opaque(parent)
            return
        # Whiteouts speak of the layers below, wherever they stand in the tar: what this layer has stays.
        there = self.directories[parent].get(target)
        if there is None:
            number = self._new(stat.S_IFCHR, 0, 0, 0, 0, self._now_ns)
            self._put(parent, target, number << 3 | layout.CHARACTER)
        elif there & 7 == layout.DIRECTORY:
            self._make_opaque(there >> 3)

    def _is_whiteout(self, child: int) -> bool:
        at = (child >> 3) * 64 + 16
        return child & 7 == layout.CHARACTER and self.inodes[at : at + 4] == bytes(4)

    def _make_opaque(self, number: int) -> None:
        name, value = xattrs.OPAQUE
        self._set_attributes(number, {name: value}, "directory")

    def _make_directory(self, parent: int, name: bytes, entry: Entry) -> None:
        there = self.directories[parent].get(name)
        if there is not None and there & 7 == layout.DIRECTORY:
            self._attribute(there >> 3, entry)
            return
        number = self._new_directory(parent, entry.mode, entry.uid, entry.gid, entry.mtime_ns)
        self._put(parent, name, number << 3 | layout.DIRECTORY)
        if entry.xattrs:
            self._set_attributes(number, kept_xattrs(entry), "directory")
        if there is not None and self._is_whiteout(there):
            self._make_opaque(number)

    def _attribute(self, number: int, entry: Entry) -> None:
        """A directory that is there already is named again."""
        self._own(number, entry.mode, entry.uid, entry.gid)
        at = number * 64 + 32
        self.inodes[at : at + 12] = _time(entry.mtime_ns)
        self._set_attributes(number, kept_xattrs(entry), "directory")

    def _own(self, number: int, mode: int, uid: int, gid: int) -> None:
        at = number * 64
        self.inodes[at + 4 : at + 6] = (stat.S_IFDIR | mode).to_bytes(2, "little")
        self.inodes[at + 24 : at + 32] = uid.to_bytes(4, "little") + gid.to_bytes(4, "little")

    def _new_directory(self, parent: int, mode: int, uid: int, gid: int, mtime_ns: int) -> int:
        number = self._new(stat.S_IFDIR | mode, uid, gid, 0, 0, mtime_ns)
        self._keep(_DIRECTORY_BYTES)
        self.directories[number] = {}
        self.parents[number] = parent
        return number

    def _new(self, mode: int, uid: int, gid: int, size: int, where: int, mtime_ns: int, form: int = _PLAIN) -> int:
        number = len(self.inodes) >> 6
        self._keep(_INODE_BYTES)
        self.size += size
        seconds, ns = divmod(mtime_ns, _NS)
        self.inodes += layout.INODE.pack(form, 0, mode, 0, size, where, number + 1, uid, gid, seconds, ns, 1)
        return number

    def _inode(self, entry: Entry, offset: int) -> int:
        """The inode of what is no directory and no hard link."""
        kind, form, size, where = entry.kind, _PLAIN, 0, 0
        mode = _MODES[kind] | entry.mode
        if kind == "file":
            size = entry.size
            where = offset >> layout.BLOCK_BITS
            if entry.pieces is not None:
                form, where = _CHUNKS, 0
        elif kind == "symlink":
            size, mode = len(entry.link), stat.S_IFLNK | 0o777
            if size > _TARGET_MAX:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(entry.name))
        elif kind != "fifo":
            where = layout.device_number(*entry.device)
        number = self._new(mode, entry.uid, entry.gid, size, where, entry.mtime_ns, form)
        if kind == "symlink":
            self._keep(size + _OBJECT_BYTES)
            self.targets[number] = entry.link
        elif entry.pieces is not None:
            self._sparse(number, entry, offset)
        if entry.xattrs:
            self._set_attributes(number, kept_xattrs(entry), kind)
        return number

    def _sparse(self, number: int, entry: Entry, offset: int) -> None:
        pieces = entry.pieces or []
        if entry.size > _SIZE_MAX:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fsdecode(entry.name))
        found = in_place(pieces, entry.size, offset >> layout.BLOCK_BITS)
        if found is None:
            self._keep(_PIECE_BYTES * len(pieces) + _OBJECT_BYTES)
            self.copies[number] = copied(pieces, entry.size, offset)
        else:
            self.set_chunks(number, *found)

    def set_chunks(self, number: int, bits: int, blocks: list[int]) -> None:
        """Where the data of a sparse file are."""
        self.chunks[number] = layout.chunk_indexes(blocks)
        self._keep(len(self.chunks[number]) + _OBJECT_BYTES)
        at = number * 64 + 16
        self.inodes[at : at + 4] = layout.chunk_format(bits).to_bytes(4, "little")

    def _set_attributes(self, number: int, attributes: dict[bytes, bytes], kind: str) -> None:
        """Add to what the inode has already, as setxattr(2) does."""
        if not attributes:
            return
        if kind == "directory":  # may be named again
            attributes = self.attributes.setdefault(number, {}) | attributes
            self.attributes[number] = attributes
        body, permissions = xattrs.encoded_xattrs(attributes, kind)
        self._keep(2 * (len(body) + _OBJECT_BYTES))  # as they came, too
        at = number * 64
        if body:
            self.xattrs[number] = body
            self.inodes[at + 2 : at + 4] = layout.xattr_count(body).to_bytes(2, "little")
        if permissions is not None:
            mode = int.from_bytes(self.inodes[at + 4 : at + 6], "little") & ~0o777 | permissions
            self.inodes[at + 4 : at + 6] = mode.to_bytes(2, "little")

    def _link(self, path: tuple[bytes, ...], parent: int, entry: Entry) -> None:
        source = link_source(entry)
        if source == path:
            return
        start = self._directory(source[:-1])
        found = self.directories[start].get(source[-1])
        if found is None or self._is_whiteout(found):
            raise leads_nowhere(entry)
        if found & 7 == layout.DIRECTORY:
            raise leads_to_directory(entry)
        there = self.directories[parent].get(path[-1])
        if there is not None and there & 7 == layout.DIRECTORY:
            above = start
            while above != _ROOT and above != there >> 3:
                above = self.parents[above]
            if above == there >> 3:
                raise leads_nowhere(entry)  # what it leads to would go with what it replaces
        self._add_links(found >> 3, 1)
        self._put(parent, path[-1], found)


def _time(mtime_ns: int) -> bytes:
    seconds, ns = divmod(mtime_ns, _NS)
    return seconds.to_bytes(8, "little", signed=True) + ns.to_bytes(4, "little")
