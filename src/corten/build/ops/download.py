"""ADD of a URL: one file from a web server, as a file system of its own. Daemon's loop; net and disk threads.

What the server has is asked for in each build, and is the cache key; a file that it says is unchanged is not sent
again. With a checksum that is the key, and a cached build asks nobody. Mode 0600 and the time that the server says, as
the Dockerfile reference has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import BinaryIO

from corten.build.dockerfile.instructions.add import file_name
from corten.build.fetching import Downloaded, Fetching
from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.operations import Download
from corten.build.ops.store import LayerStore
from corten.build.web import DownloadFailed, Seen, WebUrl
from corten.errors import Forbidden
from corten.lib.tar import Entry
from corten.lib.tar_writer import TarWriter

_CHUNK = 1 << 20
_NANO = 1_000_000_000


class Downloader:
    """Fetches for one build; nothing for one that is `limited`. To be closed."""

    def __init__(self, *, store: LayerStore, fetching: Fetching, limited: bool) -> None:
        self._limited = limited
        self._store = store
        self._fetching = fetching
        self._here: dict[Vertex, Downloaded] = {}

    def close(self) -> None:
        """Close what was fetched and not used."""
        for found in self._here.values():
            if found.file is not None:
                found.file.close()
        self._here.clear()

    async def identity(self, vertex: Vertex, wanted: Download) -> str:
        """What the URL gives, as one digest. Raises as `download`."""
        check_limited(vertex, limited=self._limited)
        if wanted.checksum:
            return wanted.checksum
        url = _url(wanted)
        found = await self._fetching.download(url, self._store.progress, seen=self._fetching.seen(url))
        self._here[vertex] = found
        return _identity(found.seen)

    async def download(self, vertex: Vertex, wanted: Download) -> FileSystem:
        """The file at the top of an empty file system. Raises DownloadFailed, RegistryError, InvalidArgument;
        Forbidden when the build has an egress list."""
        check_limited(vertex, limited=self._limited)
        found = self._here.pop(vertex, None)
        if found is None or found.file is None:
            again = await self._fetching.download(_url(wanted), self._store.progress, checksum=wanted.checksum)
            if found is not None and _identity(found.seen) != _identity(again.seen) and again.file is not None:
                again.file.close()
                raise DownloadFailed(f"{wanted.url[:256]} has changed while it was fetched; build again")
            found = again
        assert found.file is not None
        with found.file as file:
            size = file.seek(0, 2)
            name = wanted.name or file_name(wanted.url)
            entry = Entry(name.encode(), "file", 0o600, 0, 0, size, _time_ns(found.seen.modified))
            return await self._store.add(FileSystem(), lambda writer: _write(writer, entry, file))


def check_limited(vertex: Vertex, *, limited: bool) -> None:
    """Raise Forbidden for a build with an egress list, which the engine does not go around."""
    if limited:
        raise Forbidden(
            f"line {vertex.lines[0]}: the build has an egress list, which a file that the engine fetches would get "
            "past; fetch it in a RUN step"
        )


def _url(wanted: Download) -> WebUrl:
    return WebUrl(url=wanted.url, authorization=wanted.authorization)


def _identity(seen: Seen) -> str:
    return f"{seen.digest} {_time_ns(seen.modified)}"


def _write(writer: TarWriter, entry: Entry, file: BinaryIO) -> None:
    writer.add(Entry(b"./", "directory", 0o755, 0, 0, 0, entry.mtime_ns))
    writer.add(entry, _chunks(file))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(_CHUNK):
        yield chunk


def _time_ns(modified: str) -> int:
    """Last-Modified; 1970 when there is none, so that the same file is the same layer."""
    try:
        return max(int(parsedate_to_datetime(modified).timestamp()), 0) * _NANO
    except (ValueError, TypeError, OverflowError):
        return 0
