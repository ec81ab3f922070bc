"""Work side by side: results in order, the first error, and a cancellation that is never lost, for one and for many."""

import asyncio

import pytest

from corten.engine.images.settled import all_of, settled


async def gives(value, gate=None):
    if gate is not None:
        await gate.wait()
    return value


async def fails():
    raise ValueError("why")


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_what_all_give_is_in_order(count):
    assert await all_of(gives(number) for number in range(count)) == list(range(count))


@pytest.mark.parametrize("more", [[], [gives]])
async def test_an_error_is_raised_when_the_others_have_let_go(more):
    gate = asyncio.Event()
    with pytest.raises(ValueError, match="why"):
        await all_of([fails(), *(one(1, gate) for one in more)])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("error", [None, ValueError("why")])
async def test_who_is_cancelled_learns_of_it_although_the_work_has_ended_otherwise(count, error):
    """Work that waits for threads swallows the cancellation meanwhile (`settled`)."""
    release = asyncio.Event()

    async def work() -> int:
        thread = asyncio.ensure_future(release.wait())
        await settled([thread])
        if error is not None:
            raise error
        return 1

    async def both() -> list[int]:
        return await all_of(work() for _ in range(count))

    task = asyncio.ensure_future(both())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_of_the_work_s_own_is_no_cancellation():
    async def late() -> int:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return 1
        return 2

    assert await all_of([late()]) == [1]
