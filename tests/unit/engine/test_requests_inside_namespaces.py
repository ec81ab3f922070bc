"""Work in a container's network namespace does not hold the loop, and its socket is closed in the end, on every path."""

import asyncio
import socket
import threading

import pytest

from corten.engine.networks.inside import in_namespace
from corten.errors import Unavailable


async def test_the_loop_goes_on_while_the_kernel_takes_its_time():
    let_go = threading.Event()
    ours, theirs = socket.socketpair()

    def slow(opened):
        with socket.socket(fileno=opened.detach()):
            assert let_go.wait(20)

    with theirs:
        task = asyncio.create_task(in_namespace(ours, slow))
        while ours.fileno() >= 0:
            await asyncio.sleep(0)
        assert not task.done()
        let_go.set()
        await task
        assert theirs.recv(1) == b""


async def test_waiting_ends_and_the_socket_goes_when_the_kernel_lets_go():
    let_go = threading.Event()
    ours, theirs = socket.socketpair()

    def slow(opened):
        with socket.socket(fileno=opened.detach()):
            assert let_go.wait(20)

    with theirs:
        with pytest.raises(Unavailable, match="does not answer"):
            await in_namespace(ours, slow, wait_s=0.01)
        let_go.set()
        assert theirs.recv(1) == b""


async def test_work_that_never_begins_leaves_no_socket():
    let_go = threading.Event()
    pairs = [socket.socketpair() for _ in range(40)]

    def slow(opened):
        with socket.socket(fileno=opened.detach()):
            assert let_go.wait(20)

    tasks = [in_namespace(ours, slow, wait_s=0.01) for ours, _theirs in pairs]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    let_go.set()
    for _ours, theirs in pairs:
        with theirs:
            assert theirs.recv(1) == b""
