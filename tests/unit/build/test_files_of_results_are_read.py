"""Looks into results end with who asked, however much lies before what was asked for."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corten.build.buildkit.reading import ResultFiles
from corten.build.filesystem import FileSystem, Layer
from corten.build.trees.mounted import MountedTree
from corten.spec.oci_image import Descriptor, Image

DIGEST = f"sha256:{'a' * 64}"
HUGE = 1 << 40  # bytes of a hole: minutes of reading


class Directory:
    """A directory in place of layers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def image_fd(self, _chain_id: str) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


async def have(_filesystem: FileSystem) -> None:
    pass


def job() -> Any:
    layer = Layer(blob=Descriptor(media_type="", digest=DIGEST, size=1), diff_id=DIGEST)
    image = Image(architecture="amd64", os="linux")
    built = SimpleNamespace(image=image, filesystem=FileSystem(layers=(layer,)))
    result = SimpleNamespace(platforms=[SimpleNamespace(built=built)], have=have)
    return SimpleNamespace(solves={"result0": SimpleNamespace(result=(None, result, None))})


async def test_a_look_ends_with_who_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.write(b"begin")
        file.truncate(HUGE)
    files: Any = ResultFiles(Directory(tmp_path))  # type: ignore[arg-type]
    assert await files.read(job(), "result0/linux/amd64", "/f", (1, 4)) == b"egin"
    reading, loop = asyncio.Event(), asyncio.get_running_loop()
    before, chunks = sorted(os.listdir("/proc/self/fd")), MountedTree.chunks

    def slow(tree: MountedTree, path: str) -> Any:
        loop.call_soon_threadsafe(reading.set)
        return chunks(tree, path)

    monkeypatch.setattr(MountedTree, "chunks", slow)
    look = asyncio.ensure_future(files.read(job(), "result0/linux/amd64", "/f", (HUGE - 4, 4)))
    await reading.wait()
    look.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait([look])
    assert look.cancelled()
    assert sorted(os.listdir("/proc/self/fd")) == before
