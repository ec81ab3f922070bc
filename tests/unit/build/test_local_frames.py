"""The frames of a local build's connection: whole again however they are cut, and strangers are refused."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.local.frames import DATA_LIMIT, MESSAGE_LIMIT, BadFrame, FrameReader, frame


@given(st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=50))), st.integers(1, 20))
def test_frames_are_whole_again_however_they_are_cut(sent: list[tuple[bytes, bytes]], piece: int) -> None:
    data = b"".join(frame(*one) for one in sent)
    reader = FrameReader()
    found = []
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
        found += [(one.message, one.data) for one in reader.frames()]
    assert found == sent
    assert reader.waiting == 0


@given(st.lists(st.integers(0, 3), max_size=5))
def test_descriptors_stay_with_their_frames(counts: list[int]) -> None:
    reader = FrameReader()
    numbers = iter(range(1000, 2000))
    wanted = []
    for count in counts:
        fds = [next(numbers) for _ in range(count)]
        wanted.append(fds)
        reader.feed(frame(b"m", b"", count), fds)
    assert [one.fds for one in reader.frames()] == wanted


@pytest.mark.parametrize("head", [(MESSAGE_LIMIT + 1, 0, 0), (0, DATA_LIMIT + 1, 0), (0, 0, 65), (1, 0, 1)])
def test_what_is_too_large_or_lost_its_descriptors_is_refused(head: tuple[int, int, int]) -> None:
    reader = FrameReader()
    reader.feed(struct.pack(">IIB", *head))
    with pytest.raises(BadFrame):
        list(reader.frames())


@given(st.binary(max_size=200))
def test_strangers_are_refused_or_waited_for(data: bytes) -> None:
    reader = FrameReader()
    reader.feed(data)
    try:
        for one in reader.frames():
            assert len(one.message) + len(one.data) <= len(data)
    except BadFrame:
        pass


def test_descriptors_without_frames_are_bounded_and_closed() -> None:
    reader = FrameReader()
    read, write = os.pipe()
    reader.feed(b"", [read])
    with pytest.raises(BadFrame):
        reader.feed(b"", [write] * 200)
    reader = FrameReader()
    reader.feed(b"\0", [read, write])
    reader.close()
    for fd in (read, write):
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)


def test_a_frame_that_would_be_refused_is_not_made() -> None:
    with pytest.raises(BadFrame):
        frame(b"", b"x" * (DATA_LIMIT + 1))
