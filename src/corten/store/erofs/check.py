"""Whether an image is still what was written. Blocking; disk threads, on demand: all of the file is read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from corten.store.erofs import layout

_CHUNK = 1 << 20


def metadata_digest(fd: int) -> str:
    """A digest of the superblock, the inodes and the directories of an image; "" of what has no superblock."""
    top = os.pread(fd, layout.DATA_START, 0)
    start = layout.metadata_start(top)
    if start is None:
        return ""
    return _digest(fd, start, os.fstat(fd).st_size - start, top)


def problems(image: Path, *, metadata: str, tar_size: int, chain_id: str, parent: str) -> list[str]:
    """What is wrong with an image of these digests. The tar in it is proved by the layer's chainID. Raises OSError."""
    fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = []
        if metadata_digest(fd) != metadata:
            found.append("its inodes and directories are not those that were written")
        if chain_id.startswith("sha256:"):
            diff_id = f"sha256:{_digest(fd, layout.DATA_START, tar_size)}"
            chained = f"sha256:{hashlib.sha256(f'{parent} {diff_id}'.encode()).hexdigest()}" if parent else diff_id
            if chained != chain_id:
                found.append(f"its tar has the digest {diff_id}, which does not lead to {chain_id}")
        return found
    finally:
        os.close(fd)


def _digest(fd: int, start: int, size: int, before: bytes = b"") -> str:
    """SHA-256 of `before` and of a part of the file, as far as there is one."""
    total = hashlib.sha256(before)
    while size > 0 and (data := os.pread(fd, min(size, _CHUNK), start)):
        total.update(data)
        start, size = start + len(data), size - len(data)
    return total.hexdigest()
