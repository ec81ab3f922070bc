"""Streams between a process and attached clients, over real pipes and sockets."""

import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.shim.reactor import Reactor
from corten.shim.stdio import Client, DetachMatcher, Streams, parse_detach_keys


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("a,ctrl-@", b"a\0"),
        ("ctrl-[", b"\x1b"),
        ("", b""),
        ("ctrl-P", b""),
        ("ab", b""),
    ],
)
def test_detach_keys_are_read_as_docker_reads_them(text: str, expected: bytes) -> None:
    assert parse_detach_keys(text) == expected


@given(st.lists(st.binary(max_size=12), max_size=8))
def test_the_matcher_passes_on_everything_before_the_sequence(chunks: list[bytes]) -> None:
    matcher, out, detached = DetachMatcher(b"\x10\x11"), b"", False
    for chunk in chunks:
        data, detached = matcher.feed(chunk)
        out += data
        if detached:
            break
    typed = b"".join(chunks)
    before, found, _after = typed.partition(b"\x10\x11")
    assert detached == bool(found)
    if found:
        assert out == before
    else:
        assert typed.startswith(out)
        assert len(typed) - len(out) <= 1


class Rig:
    """Streams with pipes of a pretended process."""

    def __init__(self, *, tty: bool = False, close_stdin: bool = False) -> None:
        self.reactor = Reactor()
        self.detached: list[bool] = []
        self.drained: list[bool] = []
        self.streams = Streams(
            self.reactor,
            tty=tty,
            log=None,
            close_stdin=close_stdin,
            on_detach=lambda: self.detached.append(True),
            on_drained=lambda: self.drained.append(True),
        )
        self.stdin, stdin_w = os.pipe()
        out_r, self.stdout = os.pipe()
        err_r, self.stderr = os.pipe()
        self._connect = {"stdin_fd": stdin_w, "sources": {out_r: "stdout", err_r: "stderr"}}

    def client(self, **options: object) -> socket.socket:
        mine, theirs = socket.socketpair()
        mine.settimeout(10)
        wanted = {"stdin": True, "stdout": True, "stderr": True, **options}
        self.streams.attach(Client(theirs.detach(), **wanted))
        return mine

    def connect(self) -> None:
        self.streams.connect(**self._connect)


def frame(number: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", number, len(data)) + data


def test_output_is_framed_and_typed_input_arrives_before_half_close_closes_stdin() -> None:
    rig = Rig(close_stdin=True)
    mine = rig.client(preface=b"early ")
    rig.connect()
    os.write(rig.stdout, b"out")
    os.write(rig.stderr, b"err")
    mine.sendall(b"late")
    mine.shutdown(socket.SHUT_WR)
    while len(rig.streams.clients) and rig.streams._stdin_fd >= 0:
        rig.reactor.run_once()
    rig.streams.drain()
    assert os.read(rig.stdin, 100) == b"early late"
    assert os.read(rig.stdin, 100) == b""
    got = mine.recv(1000)
    assert frame(1, b"out") in got
    assert frame(2, b"err") in got


def test_a_terminal_is_raw_and_the_detach_keys_close_the_client_alone() -> None:
    rig = Rig(tty=True)
    mine, other = rig.client(detach_keys="ctrl-p,ctrl-q"), rig.client(stdin=False)
    rig.connect()
    os.write(rig.stdout, b"prompt")
    mine.sendall(b"ls\x10\x11")
    while not rig.detached:
        rig.reactor.run_once()
    rig.streams.drain()
    assert os.read(rig.stdin, 100) == b"ls"
    assert other.recv(100) == b"prompt"
    assert mine.recv(100) in (b"prompt", b"")
    assert len(rig.streams.clients) == 1


def test_a_client_that_does_not_read_stops_the_reading_and_never_the_end() -> None:
    rig = Rig()
    mine = rig.client()
    rig.connect()
    os.set_blocking(rig.stdout, False)
    sent = 0
    for _ in range(400):
        try:
            sent += os.write(rig.stdout, b"x" * 65536)
        except BlockingIOError:
            rig.reactor.after(0.01, lambda: None)
            rig.reactor.run_once()
    assert rig.streams._paused
    os.close(rig.stdout)
    os.close(rig.stderr)
    rig.streams.drain()
    assert rig.drained == [True]
    rig.streams.finish()
    got = 0
    while rig.streams.clients:
        got += len(mine.recv(1 << 20))
        rig.reactor.run_once()
    while chunk := mine.recv(1 << 20):
        got += len(chunk)
    assert got >= sent


def test_a_client_that_goes_away_is_dropped() -> None:
    rig = Rig()
    mine = rig.client()
    rig.connect()
    mine.close()
    while rig.streams.clients:
        rig.reactor.run_once()
    assert not rig.drained


def test_input_typed_after_the_end_does_not_reset_the_connection() -> None:
    rig = Rig()
    mine = rig.client()
    rig.connect()
    os.write(rig.stdout, b"bye")
    os.close(rig.stdout)
    os.close(rig.stderr)
    rig.streams.drain()
    mine.sendall(b"too late")
    rig.streams.finish()
    assert mine.recv(100) == frame(1, b"bye")
    assert mine.recv(100) == b""
