"""Unpack an archive of a client's into a directory of a container (`docker cp`). Blocking; daemon, as root.

Like a layer's extraction, but names are plain, and a parent that is a link in the container leads where it leads there:
it is resolved inside the container's root (openat2 RESOLVE_IN_ROOT), never outside (CVE-2018-15664).
"""

from __future__ import annotations

import os
import posixpath
import stat

from corten.errors import InvalidArgument
from corten.lib.tar import Entry, TarReader
from corten.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from corten.store.entries import split_name
from corten.store.extract import LayerExtractor


class ArchiveExtractor(LayerExtractor):
    """Writes below `directory_fd`, which is `directory` of the root `root_fd`; all descriptors stay the caller's.

    `shown_as` is its path in error texts. `owner` replaces every member's owner; `keep_kinds` refuses to put a file in
    a directory's place, and the reverse.
    """

    layer = False

    def __init__(
        self,
        directory_fd: int,
        *,
        root_fd: int,
        directory: bytes,
        shown_as: str,
        owner: tuple[int, int] | None,
        keep_kinds: bool,
    ) -> None:
        super().__init__(directory_fd, lambda _path: None)
        self._container_root = root_fd
        self._prefix = directory
        self._shown_as = shown_as
        self._owner = owner
        self._keep_kinds = keep_kinds

    def _place(self, entry: Entry, reader: TarReader) -> None:
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        path = split_name(entry.name)
        if not path:
            return  # `./`: the directory is the container's, its attributes stay
        if self._keep_kinds:
            self._check_kind(path, entry)
        super()._place(entry, reader)

    def _check_kind(self, path: tuple[bytes, ...], entry: Entry) -> None:
        try:
            there = os.stat(path[-1], dir_fd=self._directory(path[:-1]), follow_symlinks=False)
        except FileNotFoundError:
            return
        base = self._shown_as
        name = posixpath.join(base, os.fsdecode(b"/".join(path)))
        if stat.S_ISDIR(there.st_mode) and entry.kind != "directory":
            raise InvalidArgument(f'cannot overwrite directory "{name}" with non-directory "{base}"')
        if not stat.S_ISDIR(there.st_mode) and entry.kind == "directory":
            raise InvalidArgument(f'cannot overwrite non-directory "{name}" with directory "{base}"')

    def _resolve(self, path: tuple[bytes, ...]) -> int:
        whole = self._prefix + b"/" + b"/".join(path)
        resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
        return openat2(self._container_root, whole, os.O_RDONLY | os.O_DIRECTORY, resolve=resolve)
