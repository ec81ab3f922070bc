"""What the client sent, as steps see it: one view for all, changes of a step's own, and nothing left of either."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tests.unit.build.trees import tar_of

from corten.build.graph import Vertex
from corten.build.operations import BaseImage, Context, Mount, Run
from corten.build.ops.inputs import Inputs
from corten.build.ops.mount_homes import remove_home, sweep
from corten.build.ops.shown import ShownFiles
from corten.build.trees.tar import TarTree
from corten.build.trees.tree import Node, Tree
from corten.engine.images.progress import Progress, run_cancellable
from corten.linux.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY
from corten.store.erofs.mount import Backing, mount_open_image

_AS_DATA = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
FILES = {"a": b"of the client\n", "d/b": b"b\n", "d/c": b"c\n"}
VERTEX = Vertex(Run(args=("true",)), (Vertex(BaseImage(image_id="sha256:a")), Vertex(Context())))


class Store:
    """What the views ask of the store: mounts of images, or none where the driver has none; work in threads."""

    def __init__(self, *, mounts_images: bool) -> None:
        self.mounts_images = mounts_images
        self.progress = Progress()

    async def work(self, fn: Callable[..., Any], *args: Any) -> Any:
        return await run_cancellable(self.progress, "disk", fn, *args)

    def mount_image(self, fd: int) -> int:
        return mount_open_image(fd, Backing.FILE, _AS_DATA)

    def now_ns(self) -> int:
        return 1


class Stopping:
    """A tree that does something before it gives bytes."""

    def __init__(self, tree: Tree, before: Callable[[], None]) -> None:
        self._tree = tree
        self._before = before

    def lstat(self, path: str) -> Node | None:
        return self._tree.lstat(path)

    def names(self, path: str) -> list[str]:
        return self._tree.names(path)

    def chunks(self, path: str) -> Iterator[bytes]:
        self._before()
        return self._tree.chunks(path)

    def xattrs(self, path: str) -> Mapping[bytes, bytes]:
        return self._tree.xattrs(path)

    def digest(self, path: str) -> str:
        return self._tree.digest(path)


def bind(source: str = "/", *, read_only: bool = True) -> Mount:
    return Mount(kind="bind", target="/m", input=1, source=source, read_only=read_only)


def views(tmp_path: Path, store: Store, before: Callable[[], None] = lambda: None) -> ShownFiles:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)

    def new_file() -> BinaryIO:
        return os.fdopen(os.open(scratch, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), "w+b")

    sent = new_file()
    sent.write(tar_of(FILES).getvalue())
    sent.flush()
    tree = Stopping(TarTree(sent), before)
    return ShownFiles(
        store=store,  # type: ignore[arg-type]
        inputs=Inputs(store=store, contexts={"": tree}),  # type: ignore[arg-type]
        directory=tmp_path / "run",
        scratch=scratch,
        new_file=new_file,
    )


def left(tmp_path: Path) -> list[str]:
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(tmp_path) in line]
    return mounts + [str(path) for name in ("run", "scratch/shown") for path in (tmp_path / name).glob("*")]


@pytest.fixture(params=[True, False], ids=["image", "unpacked"])
def is_image(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_steps_that_see_the_same_share_it_and_one_that_writes_has_its_own(tmp_path: Path, is_image: bool) -> None:
    reads: list[int] = []
    shown = views(tmp_path, Store(mounts_images=is_image), lambda: reads.append(1))
    async with AsyncExitStack() as steps:
        one, two = [await steps.enter_async_context(shown.hold(VERTEX, bind())) for _ in range(2)]
        assert one == two
        assert (Path(one) / "d/b").read_bytes() == b"b\n"
        async with shown.hold(VERTEX, bind(read_only=False)) as own:
            (Path(own) / "a").write_bytes(b"changed")
            (Path(own) / "d/c").unlink()
            (Path(own) / "new").touch()
            assert (Path(one) / "a").read_bytes() == FILES["a"]
            assert (Path(one) / "d/c").exists()
        async with shown.hold(VERTEX, bind(read_only=False)) as own:
            assert sorted(path.name for path in Path(own).iterdir()) == ["a", "d"]
    assert len(reads) == len(FILES)
    async with shown.hold(VERTEX, bind("/d/b")) as file:
        assert Path(file).read_bytes() == b"b\n"
    assert len(reads) == len(FILES) + 1  # what the bind shows, and no more
    await shown.close()
    assert left(tmp_path) == []


async def test_a_step_that_is_kept_keeps_its_view_beyond_the_build(tmp_path: Path, is_image: bool) -> None:
    shown = views(tmp_path, Store(mounts_images=is_image))
    async with shown.hold(VERTEX, bind()) as held:
        await shown.close()
        assert (Path(held) / "a").read_bytes() == FILES["a"]
    assert left(tmp_path) == []


async def test_an_error_leaves_nothing_and_the_next_step_has_its_view(tmp_path: Path, is_image: bool) -> None:
    failing = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]

    def before() -> None:
        if failing:
            raise failing.pop()

    shown = views(tmp_path, Store(mounts_images=is_image), before)
    with pytest.raises(OSError, match="No space left"):
        async with shown.hold(VERTEX, bind()):
            pass
    assert left(tmp_path) == []
    async with shown.hold(VERTEX, bind()) as held:
        assert (Path(held) / "a").read_bytes() == FILES["a"]
    await shown.close()
    assert left(tmp_path) == []


async def test_a_cancelled_step_leaves_nothing(tmp_path: Path, is_image: bool) -> None:
    reading, store = threading.Event(), Store(mounts_images=is_image)

    def before() -> None:
        reading.set()
        store.progress.cancel.sleep(60)

    shown = views(tmp_path, store, before)
    step = asyncio.ensure_future(shown.hold(VERTEX, bind()).__aenter__())
    await asyncio.to_thread(reading.wait, 60)
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    await shown.close()
    assert left(tmp_path) == []


async def test_a_view_that_cannot_be_taken_away_keeps_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_image: bool
) -> None:
    shown = views(tmp_path, Store(mounts_images=is_image))
    for source in ("/a", "/d", "/d/b"):
        async with shown.hold(VERTEX, bind(source)):
            pass
    removed: list[Path] = []

    def failing(home: Path) -> None:
        removed.append(home)
        if len(removed) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        remove_home(home)

    with monkeypatch.context() as patched:
        patched.setattr("corten.build.ops.shown.remove_home", failing)
        with pytest.raises(OSError, match="Input/output error"):
            await shown.close()
    assert len(removed) == 3
    remove_home(removed[0])
    assert left(tmp_path) == []


async def test_the_next_daemon_takes_away_what_a_killed_one_left_mounted(tmp_path: Path) -> None:
    shown = views(tmp_path, Store(mounts_images=True))
    held = shown.hold(VERTEX, bind(read_only=False))
    await held.__aenter__()
    assert len([line for line in left(tmp_path) if " erofs " in line or " overlay " in line]) == 2
    sweep(tmp_path / "run")
    sweep(tmp_path / "scratch/shown")
    assert left(tmp_path) == []
    await held.__aexit__(None, None, None)
