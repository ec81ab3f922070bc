"""ADD of a URL: one file from a web server, as a file system of its own. Daemon's loop; net and disk threads.

It is fetched in each build, and what it holds is the cache key of what is made of it. Mode 0600 and the time that the
server says, as the Dockerfile reference has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import BinaryIO, Protocol

from corten.build.dockerfile.instructions.add import file_name
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import Download
from corten.build.ops.store import LayerStore
from corten.engine.images.progress import Progress
from corten.errors import CortenError, Forbidden
from corten.lib.tar import Entry
from corten.lib.tar_writer import TarWriter

_CHUNK = 1 << 20
_NANO = 1_000_000_000


class DownloadFailed(CortenError):
    """What was fetched is not what the Dockerfile says."""

    code = "build-download-failed"


class Web(Protocol):
    """Web servers (TransferService)."""

    async def fetch(self, url: str, file: BinaryIO, progress: Progress) -> str:
        """Write what `url` gives; returns its Last-Modified header. Raises RegistryError, InvalidArgument."""


class Downloader:
    """Fetches for one build, by way of files that `new_file` makes; nothing for one that is `limited`."""

    def __init__(self, *, store: LayerStore, web: Web, new_file: Callable[[], BinaryIO], limited: bool) -> None:
        self._limited = limited
        self._store = store
        self._web = web
        self._new_file = new_file

    async def download(self, vertex: Vertex, wanted: Download) -> FileSystem:
        """The file at the top of an empty file system. Raises DownloadFailed, RegistryError, InvalidArgument;
        Forbidden when the build has an egress list."""
        if self._limited:
            raise Forbidden(
                f"line {vertex.lines[0]}: the build has an egress list, which a file that the engine fetches would get "
                "past; fetch it in a RUN step"
            )
        with self._new_file() as file:
            modified = await self._web.fetch(wanted.url, file, self._store.progress)
            file.flush()
            if wanted.checksum:
                await self._store.work(_check, file, wanted, vertex.lines[0])
            entry = Entry(file_name(wanted.url).encode(), "file", 0o600, 0, 0, file.tell(), _time_ns(modified))
            return await self._store.add(FileSystem(), lambda writer: _write(writer, entry, file))


def _write(writer: TarWriter, entry: Entry, file: BinaryIO) -> None:
    writer.add(Entry(b"./", "directory", 0o755, 0, 0, 0, entry.mtime_ns))
    writer.add(entry, _chunks(file))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_CHUNK):
        yield chunk


def _check(file: BinaryIO, wanted: Download, line: int) -> None:
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        digest.update(chunk)
    found = f"sha256:{digest.hexdigest()}"
    if found != wanted.checksum:
        raise DownloadFailed(f"line {line}: digest mismatch {found}: {wanted.checksum}")


def _time_ns(modified: str) -> int:
    """Last-Modified; 1970 when there is none, so that the same file is the same layer."""
    try:
        return max(int(parsedate_to_datetime(modified).timestamp()), 0) * _NANO
    except (ValueError, TypeError, OverflowError):
        return 0
