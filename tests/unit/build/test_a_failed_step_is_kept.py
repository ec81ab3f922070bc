"""A step that has failed and is kept for a shell: one at most, and nothing of it stays."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from corten.build.ops.failed_step import KeptStep
from corten.errors import Conflict
from corten.spec.docker.container import CreateResponse


class Containers:
    """A container that cannot be removed."""

    def wait(self, _reference: str, _condition: str) -> Any:
        return asyncio.get_running_loop().create_future()

    async def remove(self, _reference: str, **_options: bool) -> None:
        raise Conflict("it is busy")


def test_the_mounts_with_the_secrets_go_also_when_the_container_does_not() -> None:
    gone: list[str] = []

    async def run() -> None:
        kept, mounts = KeptStep(), AsyncExitStack()
        mounts.callback(gone.append, "secret")
        kept.take(Containers(), CreateResponse(id="c"))
        kept.take_mounts(mounts)
        with pytest.raises(Conflict):
            await kept.close()

    asyncio.run(run())
    assert gone == ["secret"]


def test_of_steps_that_fail_at_once_one_is_kept() -> None:
    kept = KeptStep()
    assert [kept.claim() for _ in range(3)] == [True, False, False]
