"""Write a layer's image in one pass over its tar. Blocking; a thread of the daemon.

The tar goes to the file as it comes, behind the room for the superblock; its headers are read on the way, and when it
has ended, inodes and directories are put behind it. Nothing is ever read back but sparse files of odd maps.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence

from corten.lib.tar import Readable, TarReader
from corten.store.entries import Inherited
from corten.store.erofs import layout
from corten.store.erofs.appender import Appender, whole_blocks, write
from corten.store.erofs.sparse import Copy
from corten.store.erofs.tree import LayerTree

_COPY = 1 << 20
_ROOT_AT = 2 * layout.SLOT  # not at 0: readdir(3) takes inode number 0 for no entry


def write_image(fd: int, stream: Readable, inherited: Inherited) -> tuple[int, int]:
    """Write the image of the layer `stream` to an empty file; the bytes of its files, and of the tar. The caller syncs.

    `inherited` tells mode and owner of directories of the layers below. Raises InvalidTar, OSError; the file is then
    of no use.
    """
    recorder = _Recorder(fd, stream)
    reader = TarReader(recorder)
    tree = LayerTree(inherited, now_ns=time.time_ns())
    for entry in reader:
        tree.place(entry, layout.DATA_START + reader.offset)
    tree.finish()
    end = whole_blocks(layout.DATA_START + recorder.size)
    for number, copy in tree.copies.items():
        end = _copy(fd, tree, number, copy, end)
    write_metadata(fd, tree, end)
    return tree.size, recorder.size


class _Recorder:
    """Keeps all that is read from a stream in the image, from DATA_START on."""

    def __init__(self, fd: int, stream: Readable) -> None:
        self._fd = fd
        self._stream = stream
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        write(self._fd, data, layout.DATA_START + self.size)
        self.size += len(data)
        return data


def _copy(fd: int, tree: LayerTree, number: int, copy: Copy, start: int) -> int:
    """Lay a sparse file's chunks out from byte `start` of the image on; where they end."""
    size = 1 << copy.bits
    places = {chunk: start + position * size for position, chunk in enumerate(copy.chunks)}
    source = copy.source
    for offset, length in zip(copy.pieces[::2], copy.pieces[1::2], strict=True):
        while length:
            chunk, inside = divmod(offset, size)
            data = os.pread(fd, min(length, size - inside, _COPY), source)
            if not data:
                raise OSError(errno.EIO, "the image was cut off while it was written")
            write(fd, data, places[chunk] + inside)
            offset, length, source = offset + len(data), length - len(data), source + len(data)
    blocks = [
        places[chunk] >> layout.BLOCK_BITS if chunk in places else layout.HOLE
        for chunk in range(-(-copy.size >> copy.bits))
    ]
    tree.set_chunks(number, copy.bits, blocks)
    return start + len(places) * size


def write_metadata(fd: int, tree: LayerTree, start: int) -> None:
    """Put inodes and directories from byte `start` on, a whole block, and the superblock. Raises OSError."""
    nids = _place_inodes(tree)
    directories = whole_blocks(start + nids[-1] * layout.SLOT)
    end = _write_directories(fd, tree, nids, directories)
    _write_inodes(fd, tree, nids, start)
    whole = max(whole_blocks(end), -(-end // 4096) * 4096)  # a loop device has whole pages
    os.ftruncate(fd, whole)
    top = layout.superblock(
        root_nid=nids[0],
        inodes=len(nids) - 1,
        blocks=whole >> layout.BLOCK_BITS,
        meta_block=start >> layout.BLOCK_BITS,
        time=int(time.time()),
        chunks=bool(tree.chunks),
    )
    write(fd, top, 0)


def _place_inodes(tree: LayerTree) -> list[int]:
    """The nid of each inode, and at last that of the end. An inline target shares a block with its inode."""
    nids = []
    at = _ROOT_AT
    rare = tree.xattrs.keys() | tree.targets.keys() | tree.chunks.keys()
    for number in range(len(tree.inodes) >> 6):
        if number in rare:
            size = _inode_size(tree, number)
            if number in tree.targets and size <= layout.BLOCK and at % layout.BLOCK + size > layout.BLOCK:
                at = whole_blocks(at)
        else:
            size = layout.INODE_SIZE
        nids.append(at // layout.SLOT)
        at += -(-size // layout.SLOT) * layout.SLOT
    nids.append(at // layout.SLOT)
    return nids


def _inode_size(tree: LayerTree, number: int) -> int:
    """Bytes of an inode with what follows it."""
    size = layout.INODE_SIZE + len(tree.xattrs.get(number, b""))
    if number in tree.chunks:
        return size + -size % 8 + len(tree.chunks[number])
    inline = size + len(tree.targets.get(number, b""))
    return inline if inline <= layout.BLOCK else size


def _write_directories(fd: int, tree: LayerTree, nids: Sequence[int], start: int) -> int:
    """All directories, and targets too long to stand beside their inodes; their inodes learn where. The end."""
    out = Appender(fd, start)
    for number, children in tree.directories.items():
        entries = [(name, nids[child >> 3], child & 7) for name, child in children.items()]
        entries.append((b".", nids[number], layout.DIRECTORY))
        entries.append((b"..", nids[tree.parents[number]], layout.DIRECTORY))
        entries.sort()
        links = 2 + sum(child & 7 == layout.DIRECTORY for child in children.values())
        tree.inodes[number * 64 + 44 : number * 64 + 48] = links.to_bytes(4, "little")
        _put_data(tree, number, layout.directory(entries), out)
    for number, target in tree.targets.items():
        if _inode_size(tree, number) < layout.INODE_SIZE + len(tree.xattrs.get(number, b"")) + len(target):
            _put_data(tree, number, target, out)
        else:
            form = layout.i_format(layout.FLAT_INLINE)
            tree.inodes[number * 64 : number * 64 + 2] = form.to_bytes(2, "little")
    out.flush()
    return out.end


def _put_data(tree: LayerTree, number: int, data: bytes, out: Appender) -> None:
    place = whole_blocks(out.end)
    if place >> layout.BLOCK_BITS >= layout.MAX_BLOCKS:
        raise OSError(errno.EFBIG, "the layer is larger than 2 TiB")
    out.put(data, place)
    at = number * 64
    tree.inodes[at + 8 : at + 20] = len(data).to_bytes(8, "little") + (place >> layout.BLOCK_BITS).to_bytes(4, "little")


def _write_inodes(fd: int, tree: LayerTree, nids: Sequence[int], start: int) -> None:
    """The table, with what some inodes have put behind them."""
    out = Appender(fd, start)
    done = 0
    inodes = memoryview(tree.inodes)
    for number in sorted(tree.xattrs.keys() | tree.targets.keys() | tree.chunks.keys()):
        out.put(inodes[done * 64 : number * 64], start + nids[done] * layout.SLOT)
        inode = bytes(inodes[number * 64 : number * 64 + 64]) + tree.xattrs.get(number, b"")
        if number in tree.chunks:
            inode += bytes(-len(inode) % 8) + tree.chunks[number]
        elif inode[0] == layout.i_format(layout.FLAT_INLINE):
            inode += tree.targets[number]
        out.put(inode, start + nids[number] * layout.SLOT)
        done = number + 1
    out.put(inodes[done * 64 :], start + nids[done] * layout.SLOT)
    out.flush()
