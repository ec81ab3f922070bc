"""Ctrl-C ends a command also when it comes at the very moment in which the client begins to wait."""

from __future__ import annotations

import _socket
import _thread
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from corten.cli.streams import StreamSession
from corten.client.connection import Connection
from corten.client.local_build import LocalBuild


class Nobody:
    """Offers nothing."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def connected(sock: socket.socket) -> Connection:
    return Connection(_socket.socket(fileno=sock.detach()))


WAITING: dict[str, Callable[[Connection], object]] = {
    "a local build": lambda connection: next(LocalBuild(connection).messages(Nobody())),
    "the head of an answer": lambda connection: connection.read_head(),
    "what is attached": lambda connection: StreamSession(connection, multiplexed=True).run(),
}


@pytest.mark.parametrize("wait", WAITING.values(), ids=WAITING)
def test_an_interrupt_that_wakes_nobody_is_seen(wait: Callable[[Connection], object]) -> None:
    """`interrupt_main` notes a signal, as a handler does that ran just before recv(2): no system call ends for it."""
    near, far = socket.socketpair(socket.AF_UNIX)
    connection = connected(near)
    press = threading.Timer(0.2, _thread.interrupt_main)
    late: list[int] = []
    give_up = threading.Timer(20, lambda: (late.append(1), far.shutdown(socket.SHUT_RDWR)))
    press.start()
    give_up.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            wait(connection)
        assert late == []
    finally:
        give_up.cancel()
        connection.close()
        far.close()
