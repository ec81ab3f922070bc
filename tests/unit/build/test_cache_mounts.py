"""Directories that steps keep: who may use one when, and that no two steps wait for each other."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from corten.build.cache_mounts import CacheMounts
from corten.build.operations import Mount


def mount(name: str, sharing: str = "locked", **fields: object) -> Mount:
    return Mount(kind="cache", target=f"/{name}", id=name, sharing=sharing, **fields)


@pytest.fixture
def caches(tmp_path: Path) -> CacheMounts:
    return CacheMounts(tmp_path / "caches")


async def test_steps_that_lock_the_same_ones_in_another_order_do_not_wait_for_each_other(caches: CacheMounts) -> None:
    first, second = mount("a"), mount("b")

    async def step(*mounts: Mount) -> None:
        async with caches.hold(mounts) as paths:
            assert set(paths) == {first, second}

    async with asyncio.timeout(20):
        await asyncio.gather(*(step(*order) for order in 5 * [(first, second), (second, first)]))


async def test_one_step_may_show_a_locked_one_twice(caches: CacheMounts) -> None:
    one, again = mount("a"), Mount(kind="cache", target="/elsewhere", id="a", sharing="locked")
    async with asyncio.timeout(20), caches.hold([one, again]) as paths:
        assert paths[one] == paths[again]


async def test_a_locked_one_is_used_by_one_step_at_a_time(caches: CacheMounts) -> None:
    async with caches.hold([mount("a")]):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), caches.hold([mount("a")]):
                pass
    async with asyncio.timeout(20), caches.hold([mount("a")]):
        pass


async def test_private_ones_are_apart_and_shared_ones_are_not(caches: CacheMounts) -> None:
    private, shared = mount("a", "private"), mount("b", "shared")
    async with caches.hold([private, shared]) as one, caches.hold([private, shared]) as other:
        assert one[private] != other[private]
        assert one[shared] == other[shared]


async def test_what_a_killed_daemon_had_begun_gets_its_attributes(caches: CacheMounts, tmp_path: Path) -> None:
    wanted = mount("a", uid=7, gid=8, mode=0o1777)
    async with caches.hold([wanted]) as paths:
        path = paths[wanted]
    os.rename(path, f"{path}.new")
    os.chmod(f"{path}.new", 0o700)
    os.chown(f"{path}.new", 0, 0)
    async with caches.hold([wanted]):
        status = os.stat(path)
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (7, 8, 0o1777)
        assert await caches.prune() == 0  # in use
    assert os.listdir(tmp_path / "caches") == [os.path.basename(path)]
    os.mkdir(f"{path}.new")
    await caches.prune()
    assert os.listdir(tmp_path / "caches") == []
