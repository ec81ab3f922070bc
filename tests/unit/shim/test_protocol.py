"""Messages of daemon, zygote and shim survive any cut of the stream, with their descriptors."""

import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.shim import protocol

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(
    messages=st.lists(st.dictionaries(st.text(), values, max_size=5), min_size=1, max_size=6), cut=st.integers(1, 40)
)
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(messages: list[dict], cut: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        receiver = protocol.Receiver(theirs)
        data = b"".join(protocol.encode(message) for message in messages)
        out = []
        for start in range(0, len(data), cut):
            ours.sendall(data[start : start + cut])
            assert receiver.fill()
            while (item := receiver.take()) is not None:
                out.append(item[0])
        assert out == messages


def test_descriptors_stay_with_their_message() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        first, second = os.pipe()
        protocol.send(ours, {"n": 1}, [first])
        protocol.send(ours, {"n": 2})
        protocol.send(ours, {"n": 3}, [second, first])
        receiver = protocol.Receiver(theirs)
        got = []
        while len(got) < 3:
            receiver.fill()
            while (item := receiver.take()) is not None:
                got.append(item)
        assert [(message["n"], len(fds)) for message, fds in got] == [(1, 1), (2, 0), (3, 2)]
        assert os.path.sameopenfile(got[0][1][0], got[2][1][1])
        for _message, fds in got:
            for fd in fds:
                os.close(fd)
        os.close(first)
        os.close(second)


@pytest.mark.parametrize(
    "data", [b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{]", b"\x02\0\0\0\x01\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]"]
)
def test_garbage_is_refused(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        receiver = protocol.Receiver(theirs)
        receiver.fill()
        with pytest.raises(protocol.ProtocolError):
            receiver.take()
