from __future__ import annotations

import os
import struct
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.runtime.channel import Channel, ChannelClosed

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_a_request_arrives_as_it_was_sent(request_: dict[str, Any]) -> None:
    left, right = Channel.pair()
    try:
        left.send_request(request_)
        assert right.receive_request() == (request_, [])
    finally:
        left.close()
        right.close()


def test_descriptors_arrive_with_their_message_and_not_with_another() -> None:
    left, right = Channel.pair()
    read_end, write_end = os.pipe()
    try:
        left.send({"n": 1})
        left.send({"n": 2}, [read_end, write_end])
        left.send({"n": 3})
        assert right.receive(5) == ({"n": 1}, [])
        message, fds = right.receive(5)
        assert message == {"n": 2}
        assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(read_end).st_ino] * 2
        assert not any(os.get_inheritable(fd) for fd in fds)
        for fd in fds:
            os.close(fd)
        assert right.receive(5) == ({"n": 3}, [])
    finally:
        for fd in (read_end, write_end):
            os.close(fd)
        left.close()
        right.close()


def test_a_message_larger_than_the_sockets_buffer_passes() -> None:
    left, right = Channel.pair()
    big = {"x": b"y" * (8 << 20)}
    sender = threading.Thread(target=left.send_request, args=(big,))
    sender.start()
    try:
        assert right.receive_request() == (big, [])
    finally:
        sender.join()
        left.close()
        right.close()


def test_the_end_of_the_other_side_is_told_from_silence() -> None:
    left, right = Channel.pair()
    with pytest.raises(TimeoutError):
        right.receive(0.01)
    left.sock.sendall(b"\x05\x00")
    left.close()
    with pytest.raises(ChannelClosed):
        right.receive(5)
    right.close()


def test_a_message_that_claims_to_be_huge_is_refused_before_it_is_read() -> None:
    left, right = Channel.pair()
    left.sock.sendall(struct.pack("<II", 1 << 31, 0))
    with pytest.raises(ChannelClosed, match="bytes with"):
        right.receive(5)
    left.close()
    right.close()


@pytest.mark.parametrize("count", [253, 254, 506, 507, 700])
def test_more_descriptors_than_the_kernel_passes_at_once_arrive_in_order(count: int) -> None:
    left, right = Channel.pair()
    ends = os.pipe()
    try:
        left.send({"n": 1}, [ends[number % 2] for number in range(count)])
        left.send({"n": 2}, [ends[0]])
        for number, expected in ((1, count), (2, 1)):
            message, fds = right.receive(5)
            inodes = [os.fstat(fd).st_ino for fd in fds]
            modes = [os.get_inheritable(fd) for fd in fds]
            for fd in fds:
                os.close(fd)
            assert message == {"n": number}
            assert len(inodes) == expected
            assert not any(modes)
    finally:
        for fd in ends:
            os.close(fd)
        left.close()
        right.close()


def test_descriptors_without_end_are_refused() -> None:
    left, right = Channel.pair()
    try:
        with pytest.raises(ValueError, match="are more than the 4096 that fit"):
            left.send({}, [left.fileno()] * 4097)
    finally:
        left.close()
        right.close()
