"""A kernel's log that fails for good is left alone: the loop does not turn about it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest

from corten.engine.networks import egress_denials
from corten.engine.networks.egress_denials import Denials
from corten.linux.netlink import NetlinkError
from corten.network import nflog
from corten.network.nflog import LogSocket


class Failing:
    """A socket of the log that always has something to say: an error."""

    group = 7

    def __init__(self, code: int) -> None:
        self._near, self._far = socket.socketpair()
        self._far.send(b"x")
        self._code = code
        self.reads = 0

    def fileno(self) -> int:
        return self._near.fileno()

    def read(self) -> list[nflog.LoggedPacket] | None:
        self.reads += 1
        raise OSError(self._code, os.strerror(self._code))

    def close(self) -> None:
        self._near.close()
        self._far.close()


async def test_it_is_listened_to_no_longer(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    log = Failing(errno.ENODEV)
    monkeypatch.setattr(egress_denials, "listen", lambda _first, _tries: log)
    denials = Denials("table", lambda _source, _destination: ("", ""))
    denials.listen()
    assert denials.group == 7
    for _ in range(50):
        await asyncio.sleep(0)
    assert (denials.group, log.reads, log.fileno()) == (None, 1, -1)
    assert "no longer told" in caplog.text
    denials.close()


@pytest.mark.parametrize(("code", "found"), [(errno.ETIMEDOUT, None), (errno.ENOBUFS, [])])
def test_what_passes_is_no_failure(code: int, found: object) -> None:
    log = LogSocket.__new__(LogSocket)
    log._netlink = Receives(code)  # type: ignore[assignment]
    assert log.read() == found


def test_what_stays_is_one() -> None:
    log = LogSocket.__new__(LogSocket)
    log._netlink = Receives(errno.ENODEV)  # type: ignore[assignment]
    with pytest.raises(OSError, match="No such device"):
        log.read()


class Receives:
    """Netlink with nothing but this error."""

    def __init__(self, code: int) -> None:
        self._code = code

    def receive(self, _deadline: float) -> bytes:
        raise NetlinkError(self._code, "receive")
