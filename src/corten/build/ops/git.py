"""ADD of a git repository: a commit's files as a file system. Daemon's loop; net and disk threads.

The commit is looked up in each build, and is the cache key: a ref that has not moved is not fetched again.
"""

from __future__ import annotations

from typing import BinaryIO

from corten.build.face import Offers
from corten.build.fetching import Fetching
from corten.build.filesystem import FileSystem
from corten.build.git.refs import Resolved
from corten.build.git.url import GitUrl
from corten.build.graph import Vertex
from corten.build.operations import GitCheckout
from corten.build.ops.download import check_limited
from corten.build.ops.store import LayerStore
from corten.lib.tar import TarReader
from corten.lib.tar_writer import TarWriter


class GitCheckouts:
    """Checks out for one build; nothing for one that is `limited`."""

    def __init__(self, *, store: LayerStore, fetching: Fetching, offers: Offers, limited: bool) -> None:
        self._offers = offers
        self._limited = limited
        self._store = store
        self._fetching = fetching
        self._resolved: dict[Vertex, Resolved] = {}

    @property
    def commits(self) -> dict[Vertex, str]:
        """The commits that were asked for."""
        return {vertex: found.commit for vertex, found in self._resolved.items()}

    async def identity(self, vertex: Vertex, wanted: GitCheckout) -> str:
        """The commit; with its `.git` directory also what named it. Raises GitError, Forbidden."""
        check_limited(vertex, limited=self._limited)
        found = await self._fetching.commit(_url(wanted), self._offers, self._store.progress)
        self._resolved[vertex] = found
        return f"{found.commit} {found.object_id} {found.ref}" if wanted.keep_git_dir else found.commit

    async def checkout(self, vertex: Vertex, wanted: GitCheckout) -> FileSystem:
        """The files at the top of an empty file system. Raises GitError, Forbidden, DiskFull."""
        check_limited(vertex, limited=self._limited)
        url, offers, progress = _url(wanted), self._offers, self._store.progress
        resolved = self._resolved.get(vertex) or await self._fetching.commit(url, offers, progress)
        tar = await self._fetching.checkout(url, resolved, offers, progress, keeps_git_dir=wanted.keep_git_dir)
        with tar as file:
            return await self._store.add(FileSystem(), lambda writer: _copy(file, writer))


def _url(wanted: GitCheckout) -> GitUrl:
    return GitUrl(
        remote=wanted.remote,
        ref=wanted.ref,
        subdir=wanted.subdir,
        checksum=wanted.checksum,
        submodules=wanted.submodules,
        authorization=wanted.authorization,
    )


def _copy(file: BinaryIO, writer: TarWriter) -> None:
    file.seek(0)
    reader = TarReader(file)
    for entry in reader:
        writer.add(entry, reader.data() if entry.kind == "file" else ())
