"""Pieces of a stream: those that are there at once are one write, one that comes alone does not wait, none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.api.pieces import write_stream


async def said(groups: Sequence[Sequence[bytes]], *, error: Exception | None = None) -> AsyncIterator[bytes]:
    """Groups of pieces with a wait between them."""
    for group in groups:
        for piece in group:
            yield piece
        await asyncio.sleep(0.001)
    if error is not None:
        raise error


async def at_once() -> None:
    """A reader that is as fast as the writer."""


def chunks(data: bytes) -> bytes:
    """What chunks hold."""
    found = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        count = int(size, 16)
        found += rest[:count]
        assert rest[count : count + 2] == b"\r\n"
        data = rest[count + 2 :]
    return found


async def test_what_is_there_at_once_is_one_write() -> None:
    writes: list[bytes] = []
    await write_stream(writes.append, at_once, b"H", said([[b"a", b"b"], [b"c"], [b"d", b"e"]]), chunked=False)
    assert writes == [b"Hab", b"c", b"de"]


async def test_a_stream_that_is_silent_has_its_head_at_once() -> None:
    writes: list[bytes] = []
    task = asyncio.ensure_future(write_stream(writes.append, at_once, b"H", said([[], [b"a"]]), chunked=True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert writes == [b"H"]
    await task
    assert writes == [b"H", b"1\r\na\r\n", b"0\r\n\r\n"]


async def test_what_was_said_before_an_error_is_written() -> None:
    writes: list[bytes] = []
    with pytest.raises(ValueError, match="no"):
        await write_stream(writes.append, at_once, b"", said([[b"a", b"b"]], error=ValueError("no")), chunked=True)
    assert b"".join(writes) == b"1\r\na\r\n1\r\nb\r\n"


async def test_a_slow_reader_is_waited_for_and_little_is_held() -> None:
    writes: list[bytes] = []
    room = asyncio.Semaphore(3)

    async def keep_up() -> None:
        await room.acquire()

    large = [b"x" * 50_000] * 6
    task = asyncio.ensure_future(write_stream(writes.append, keep_up, b"", said([large]), chunked=False))
    await asyncio.sleep(0.01)
    assert not task.done()
    assert sum(map(len, writes)) == 200_000  # the fourth piece waits for its reader
    for _ in range(6):
        room.release()
    await task
    assert sum(map(len, writes)) == 300_000


@given(st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=6), st.booleans())
def test_nothing_is_lost(groups: list[list[bytes]], chunked: bool) -> None:
    writes: list[bytes] = []
    asyncio.run(write_stream(writes.append, at_once, b"", said(groups), chunked=chunked))
    whole = b"".join(writes)
    assert (chunks(whole) if chunked else whole) == b"".join(piece for group in groups for piece in group)
    assert whole.endswith(b"0\r\n\r\n") or not chunked
