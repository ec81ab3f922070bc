"""Clients read files of results: what is read is what was asked for, however the file is made, and a look ends with who
asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from corten.build.buildkit.reading import ResultFiles
from corten.build.filesystem import FileSystem, Layer
from corten.build.trees.mounted import MountedTree
from corten.lib.grpc.status import Code, GrpcError
from corten.spec.oci_image import Descriptor

REF = "result0/linux/amd64"


@pytest.fixture
def files(tmp_path: Path) -> ResultFiles:
    snapshots: Any = SimpleNamespace(image_fd=lambda _chain_id: os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
    return ResultFiles(snapshots)


@pytest.fixture
def job() -> Any:
    """A build with a result of one layer."""

    async def have(_filesystem: FileSystem) -> None:
        pass

    digest = f"sha256:{'1' * 64}"
    layer = Layer(blob=Descriptor(media_type="x", digest=digest, size=1), diff_id=digest)
    built = SimpleNamespace(image=SimpleNamespace(platform="linux/amd64"), filesystem=FileSystem(layers=(layer,)))
    solved = SimpleNamespace(platforms=[SimpleNamespace(built=built)], have=have)
    return SimpleNamespace(solves={"result0": SimpleNamespace(result=(None, solved))})


async def test_what_is_before_a_part_is_not_read(
    files: ResultFiles, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole of terabytes would keep a thread for days."""

    def chunks(_self: MountedTree, _path: str) -> Iterator[bytes]:
        raise AssertionError("the file is read from its beginning")

    monkeypatch.setattr(MountedTree, "chunks", chunks)
    with (tmp_path / "holes").open("wb") as file:
        file.seek(1 << 40)
        file.write(b"the end")
    assert await files.read(job, REF, "/holes", (1 << 40, 3)) == b"the"
    assert await files.read(job, REF, "/holes", ((1 << 40) + 4, 1 << 40)) == b"end"
    assert await files.read(job, REF, "/holes", (1 << 41, 5)) == b""
    with pytest.raises(GrpcError) as caught:
        await files.read(job, REF, "/holes", None)
    assert caught.value.status is Code.RESOURCE_EXHAUSTED
    (tmp_path / "small").write_bytes(b"all of it")
    assert await files.read(job, REF, "small", None) == b"all of it"


@pytest.mark.parametrize("ask", ["read", "list", "stat"])
async def test_a_path_with_a_zero_byte_is_no_path(files: ResultFiles, job: Any, ask: str) -> None:
    further: Mapping[str, tuple[Any, ...]] = {"read": (None,), "list": ("",), "stat": ()}
    with pytest.raises(GrpcError) as caught:
        await getattr(files, ask)(job, REF, "a\0b", *further[ask])
    assert caught.value.status is Code.INVALID_ARGUMENT


async def test_a_directory_is_told_as_far_as_a_message_goes(
    files: ResultFiles, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        (tmp_path / str(number)).touch()
    assert len(await files.list(job, REF, "/", "")) == 300
    monkeypatch.setattr(MountedTree, "xattrs", lambda _self, _path: {b"user.large": bytes(60_000)})
    with pytest.raises(GrpcError, match="its entries are more than") as caught:
        await files.list(job, REF, "/", "")
    assert caught.value.status is Code.RESOURCE_EXHAUSTED


async def test_a_look_ends_with_who_asked(
    files: ResultFiles, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").touch()
    assert len(await files.list(job, REF, "/", "")) == 1
    looking, loop = asyncio.Event(), asyncio.get_running_loop()
    before, names = sorted(os.listdir("/proc/self/fd")), MountedTree.names

    def without_end(tree: MountedTree, path: str) -> list[str]:
        loop.call_soon_threadsafe(looking.set)
        while True:
            names(tree, path)

    monkeypatch.setattr(MountedTree, "names", without_end)
    look = asyncio.ensure_future(files.list(job, REF, "/", ""))
    await looking.wait()
    look.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait([look])
    assert look.cancelled()
    assert sorted(os.listdir("/proc/self/fd")) == before
