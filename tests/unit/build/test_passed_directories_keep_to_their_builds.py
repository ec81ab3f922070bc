"""A directory that a client passed is opened once, and one that never answers keeps its own build alone."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from corten.build.sources.directory import Directories, DirectorySource
from corten.build.sources.source import Recipe
from corten.build.trees.hashes import HashMemory
from corten.engine.images.progress import Progress
from corten.lib import blocking
from corten.linux.acting import ROOT
from corten.spec.docker.lint import SourceFile

DOCKERFILE = b"FROM scratch\n"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_bytes(DOCKERFILE)
    fd = os.open(context, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def source(directory: int, tmp_path: Path) -> DirectorySource:
    passed = Directories(contexts={"": directory}, reader=ROOT)
    return DirectorySource(passed, "", HashMemory(tmp_path / "hashes"), Progress())


async def test_a_context_is_opened_once(directory: int, tmp_path: Path) -> None:
    one = source(directory, tmp_path)
    await one.recipe()
    before = len(os.listdir("/proc/self/fd"))
    trees = await asyncio.gather(*(one.context("", ["/"]) for _ in range(8)))
    assert len(set(map(id, trees))) == 1
    await one.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_directories_that_do_not_answer_hold_up_nobody(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(blocking._KINDS, "passed", replace(blocking._KINDS["passed"], late_s=0.01))
    let_go = threading.Event()

    def hang() -> Recipe:
        let_go.wait(60)
        return Recipe(source=SourceFile(filename="Dockerfile", data=b""))

    hanging = [source(directory, tmp_path) for _ in range(80)]
    for one in hanging:
        monkeypatch.setattr(one, "_read", hang)
    asked = [asyncio.ensure_future(one.recipe()) for one in hanging]
    await asyncio.sleep(0)  # they come first
    assert (await source(directory, tmp_path).recipe()).source.data == DOCKERFILE
    assert await blocking.run(lambda: 7, pool="stream") == 7
    assert not any(task.done() for task in asked)
    let_go.set()
    await asyncio.gather(*asked)
