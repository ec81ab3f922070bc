"""Archives on their way in, as nameless files: they are read at random positions. Daemon's loop; threads."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from corten.engine.images.decompress import TarStream, compression_of
from corten.engine.images.progress import Progress, run_cancellable
from corten.lib import blocking
from corten.lib.disk_full import saying
from corten.lib.faultpoint import reach
from corten.registry.client import RegistryClient
from corten.registry.download_url import download_url
from corten.registry.endpoint import Endpoint
from corten.spec.docker.progress import status

_CHUNK = 1 << 20
SMALL = 64 << 10  # bytes that are kept in memory, and looked at on the loop: no thread, no disk


class Spool:
    """Files below one directory, which are gone with their last descriptor: each is the caller's to close."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def receive(self, body: AsyncIterator[bytes], progress: Progress) -> BinaryIO:
        """The whole upload, uncompressed. Raises InvalidTar, DiskFull, Cancelled."""
        pending = bytearray()
        async for chunk in body:
            pending += chunk
            if len(pending) > SMALL:
                break
        else:
            reach("upload.received")
            return await self.plain(_in_memory(pending), progress)

        async def fill(raw: BinaryIO) -> None:
            async for chunk in body:
                if len(pending) >= _CHUNK:
                    await blocking.run(raw.write, bytes(pending))
                    pending.clear()
                pending.extend(chunk)
            await blocking.run(raw.write, bytes(pending))

        return await self._take(fill, progress)

    async def download(self, client: RegistryClient, server: Endpoint, url: str, progress: Progress) -> BinaryIO:
        """As `receive`, of what a web server gives. Raises RegistryError, too."""

        async def fill(raw: BinaryIO) -> None:
            await run_cancellable(
                progress,
                "net",
                download_url,
                client,
                server,
                url,
                raw.write,
                on_start=lambda: progress.say_from_thread(status(f"Downloading from {url}")),
                on_progress=lambda done, total: progress.update("", "Downloading", done, total),
                cancel=progress.cancel,
            )

        return await self._take(fill, progress)

    async def _take(self, fill: Callable[[BinaryIO], Awaitable[None]], progress: Progress) -> BinaryIO:
        """What `fill` writes, uncompressed."""
        with saying(f"receive the archive into {self._directory}"):
            raw = self._nameless()
            try:
                await fill(raw)
                raw.flush()
            except BaseException:
                raw.close()
                raise
        reach("upload.received")
        return await self.plain(raw, progress)

    async def plain(self, raw: BinaryIO, progress: Progress) -> BinaryIO:
        """`raw` from its beginning, decompressed; it is closed when another file takes its place, and on failure."""
        try:
            start = os.pread(raw.fileno(), 16, 0)
            if not compression_of(start):
                raw.seek(0)
                return raw
            with saying(f"expand the archive in {self._directory}"):
                plain = await run_cancellable(progress, "disk", self._expand, raw, progress)
        except BaseException:
            raw.close()
            raise
        raw.close()
        return plain

    def _nameless(self) -> BinaryIO:
        """A file that is gone with its last descriptor, also after a crash (open(2), O_TMPFILE)."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return os.fdopen(fd, "w+b")

    def _expand(self, raw: BinaryIO, progress: Progress) -> BinaryIO:
        raw.seek(0)
        stream_in = TarStream(raw)
        plain = self._nameless()
        try:
            while chunk := stream_in.read(_CHUNK):
                progress.cancel.check()
                plain.write(chunk)
            plain.seek(0)
        except BaseException:
            plain.close()
            raise
        return plain


def _in_memory(data: bytes | bytearray) -> BinaryIO:
    """A file with this in it (memfd_create(2))."""
    file = os.fdopen(os.memfd_create("corten-archive", os.MFD_CLOEXEC), "w+b")
    try:
        file.write(data)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file
