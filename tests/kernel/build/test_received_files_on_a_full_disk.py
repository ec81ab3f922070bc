"""A client sends more than the disk has room for: told in Docker's words, and what was kept before stays."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.build.session_peer import Peer

from corten.build.session.contexts import KeptContexts
from corten.build.session.source import SessionFiles, SessionSource
from corten.engine.images.progress import Progress
from corten.engine.images.spool import Spool
from corten.lib.disk_full import DiskFull
from corten.linux.mount import mount, umount2

_SIZE = 4 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("tmpfs", disk, "tmpfs", 0, f"size={_SIZE}")
    try:
        yield disk
    finally:
        umount2(disk)


def test_a_full_disk_is_told_and_what_was_there_stays(small_disk: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "a").write_bytes(b"a" * (1 << 20))

    async def build(contexts: KeptContexts, peer: Peer) -> bytes:
        source = SessionSource(
            peer, SessionFiles(), contexts=contexts, spool=Spool(small_disk / "tmp"), progress=Progress()
        )
        try:
            tree = await source.context("", [""])
            return b"".join(tree.chunks("a"))
        finally:
            await source.close()

    async def work() -> None:
        contexts, peer = KeptContexts(small_disk / "contexts"), Peer({"context": context})
        assert len(await build(contexts, peer)) == 1 << 20
        before = os.statvfs(small_disk).f_bavail
        (context / "big").write_bytes(b"b" * (2 * _SIZE))
        with pytest.raises(DiskFull, match="no space left on device"):
            await build(contexts, peer)
        assert os.statvfs(small_disk).f_bavail == before
        (context / "big").unlink()
        peer.asked.clear()
        assert len(await build(contexts, peer)) == 1 << 20
        assert peer.asked == []

    asyncio.run(asyncio.wait_for(work(), 60))
