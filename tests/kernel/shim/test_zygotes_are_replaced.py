"""A zygote that does not answer is replaced by one, however many wait for it, and no later one is taken for it."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from corten.shim.socket_request import receive_sockets
from corten.shim.zygote_process import ZygoteProcess

pytestmark = pytest.mark.root

WANTED = [(int(socket.AF_INET), int(socket.SOCK_DGRAM), 0, "")]


@pytest.fixture
def zygote() -> Iterator[ZygoteProcess]:
    one = ZygoteProcess()
    one.ensure()
    yield one
    one.close()


async def ask(zygote: ZygoteProcess) -> None:
    """A socket of our own network namespace."""
    netns = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        for sock in await receive_sockets(zygote, WANTED, {}, netns):
            sock.close()
    finally:
        os.close(netns)


async def test_who_gives_it_up_late_does_not_end_the_next_one(zygote: ZygoteProcess) -> None:
    first = zygote.pid
    os.kill(first, signal.SIGKILL)
    zygote.give_up(first)
    zygote.ensure()
    second = zygote.pid
    assert second not in (0, first)
    zygote.give_up(first)
    assert zygote.pid == second
    await ask(zygote)
    assert zygote.pid == second


async def test_many_that_wait_for_a_dead_one_get_their_answers_from_the_same_next_one(zygote: ZygoteProcess) -> None:
    first = zygote.pid
    os.kill(first, signal.SIGSTOP)
    waiting = [asyncio.create_task(ask(zygote)) for _ in range(3)]
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Unavailable"] * 3
    assert zygote.pid == 0
    await asyncio.gather(*(ask(zygote) for _ in range(3)))
    assert zygote.pid not in (0, first)


def test_one_that_hangs_is_not_waited_for_and_ends(zygote: ZygoteProcess) -> None:
    first = zygote.pid
    os.kill(first, signal.SIGSTOP)
    zygote.give_up(first)
    assert zygote.pid == 0
    zygote.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(first, os.WNOHANG)
