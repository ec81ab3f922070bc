"""Ctrl-C ends `corten build` also when it comes at the very moment in which the client begins to wait."""

from __future__ import annotations

import _socket
import _thread
import socket
import threading
from typing import Any

import pytest

from corten.client.local_build import LocalBuild


class Connection:
    """What is left of one after its head."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = _socket.socket(fileno=sock.detach())

    def pending(self) -> bytes:
        return b""

    def close(self) -> None:
        self.sock.close()


class Nobody:
    """Offers nothing."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_an_interrupt_that_wakes_nobody_is_seen() -> None:
    """`interrupt_main` notes a signal, as a handler does that ran just before recv(2): no system call ends for it."""
    near, far = socket.socketpair(socket.AF_UNIX)
    build = LocalBuild(Connection(near))  # type: ignore[arg-type]
    press = threading.Timer(0.2, _thread.interrupt_main)
    late: list[int] = []
    give_up = threading.Timer(20, lambda: (late.append(1), far.shutdown(socket.SHUT_RDWR)))
    press.start()
    give_up.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(build.messages(Nobody()))
        assert late == []
    finally:
        give_up.cancel()
        build.close()
        far.close()
