"""Work on the loop gives way by the clock."""

import asyncio
import time

from corten.lib.loop_time import Slices


async def test_others_have_their_turn_after_a_millisecond_and_not_before():
    rounds = 0

    async def other() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(other())
    await asyncio.sleep(0)
    try:
        slices, begun, seen = Slices(), time.monotonic(), rounds
        while time.monotonic() - begun < 0.0005:
            await slices.give_way()
        assert rounds == seen or time.monotonic() - begun >= 0.001  # the machine itself may pause
        for number in range(5):
            time.sleep(0.0011)
            await slices.give_way()
            assert rounds > seen + number
    finally:
        beside.cancel()
