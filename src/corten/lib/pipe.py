"""Bytes between a blocking producer or consumer in a thread and the daemon's loop, through a pipe. Daemon only.

The pipe is the back-pressure: at most 64 KiB wait in it. Who is left alone learns it by EPIPE or end of file.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, TypeVar

from corten.lib import blocking

T = TypeVar("T")
_READ = 1 << 16


async def produced(producer: Callable[[BinaryIO], object]) -> AsyncIterator[bytes]:
    """What `producer` writes to the file it is called with, in a thread. Its error is raised at the end.

    Closing the iterator early makes the producer's next write fail with BrokenPipeError.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)

    def run() -> None:
        with os.fdopen(write_fd, "wb", buffering=1 << 18) as file:
            producer(file)

    task = asyncio.ensure_future(blocking.run(run, pool="stream"))
    os.set_blocking(read_fd, False)  # the loop's end never takes a thread: producers may have them all
    try:
        while data := await _read(read_fd):
            yield data
        await task
    finally:
        os.close(read_fd)
        if not task.done():
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # BrokenPipeError after an early end is nobody's news


async def consumed(body: AsyncIterator[bytes], consumer: Callable[[io.BufferedIOBase], T]) -> T:
    """Call `consumer`, in a thread, with a file that gives `body`; returns its result. Raises what it raises.

    What the consumer leaves unread is read away: the client is still sending it.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)

    def run() -> T:
        with os.fdopen(read_fd, "rb") as file:
            return consumer(file)

    task = asyncio.ensure_future(blocking.run(run, pool="stream"))
    os.set_blocking(write_fd, False)
    try:
        open_end = True
        async for chunk in body:
            view = memoryview(chunk)
            while view and open_end:
                try:
                    view = view[await _write(write_fd, view) :]
                except BrokenPipeError:
                    open_end = False
    finally:
        os.close(write_fd)
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen, also when it is the body's error that is raised
    return task.result()


async def _read(fd: int) -> bytes:
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, _READ)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(fd, _set, ready)
            try:
                await ready
            finally:
                loop.remove_reader(fd)


async def _write(fd: int, data: memoryview) -> int:
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.write(fd, data)
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_writer(fd, _set, ready)
            try:
                await ready
            finally:
                loop.remove_writer(fd)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
