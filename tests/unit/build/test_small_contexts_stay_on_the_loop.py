"""A small tar is read at once, without a thread; one that takes long although it is small is not."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.unit.build.trees import Content, tar_of

from corten.build.dockerfile.dockerignore import Matcher
from corten.build.sources import tar
from corten.build.sources.source import Recipe, recipe_in
from corten.build.sources.tar import TarSource
from corten.build.trees.tree import Tree
from corten.engine.images.progress import Progress
from corten.engine.images.spool import Spool
from corten.errors import InvalidArgument

DOCKERFILE: Content = {"Dockerfile": b"FROM scratch\n"}
DEEP = "/".join("d" * 2000)


async def received(spool: Spool, content: Content) -> BinaryIO:
    async def body() -> AsyncIterator[bytes]:
        yield tar_of(content).getvalue()

    return await spool.receive(body(), Progress())


@pytest.mark.parametrize(
    ("content", "is_on_loop"),
    [
        ({**DOCKERFILE, "a/b/c": b"x" * 1000}, True),
        ({**DOCKERFILE, ".dockerignore": b"a\n"}, False),
        ({**DOCKERFILE, "Dockerfile.dockerignore": b"a\n"}, False),
        ({**DOCKERFILE, ".dockerignore": "x", "x": b"a\n"}, False),
        ({**DOCKERFILE, f"a/{DEEP}": b"", f"b/{DEEP}": b"", f"c/{DEEP}": b""}, False),
        ({**DOCKERFILE, "large": b"x" * (64 << 10)}, False),
    ],
    ids=["small", "patterns", "patterns of its own", "patterns by a link", "deep", "large"],
)
async def test_where_a_context_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Content, is_on_loop: bool
) -> None:
    where: list[bool] = []

    def read(tree: Tree, dockerfile: str) -> Recipe:
        where.append(threading.current_thread() is threading.main_thread())
        return recipe_in(tree, dockerfile)

    monkeypatch.setattr(tar, "recipe_in", read)
    file = await received(Spool(tmp_path), content)
    source = TarSource(file, "", Progress())
    recipe = await source.recipe()
    assert where == [is_on_loop]
    assert recipe.source.data == DOCKERFILE["Dockerfile"]
    assert isinstance(recipe.ignored, Matcher) == any("dockerignore" in name for name in content)
    await source.close()
    assert file.closed


async def test_one_that_is_wrong_is_refused_and_closed(tmp_path: Path) -> None:
    file = await received(Spool(tmp_path), {"other": b""})
    source = TarSource(file, "", Progress())
    with pytest.raises(InvalidArgument, match="Cannot locate"):
        await source.recipe()
    await source.close()
    assert file.closed
