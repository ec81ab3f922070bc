"""A socket whose connections cannot be accepted for want of descriptors does not keep the loop busy."""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket

from corten.network.listener import Listener


class Counted(socket.socket):
    """Counts how often it was asked for a connection."""

    asked = 0

    def accept(self):
        self.asked += 1
        return super().accept()


@contextlib.contextmanager
def no_descriptor_left():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.dup(0)
    os.close(highest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_it_waits_says_so_once_and_goes_on(caplog):
    served = []
    with Counted(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        held.setblocking(False)
        listener = Listener(held, served.append)
        listener.open()
        with socket.create_connection(held.getsockname()):
            with no_descriptor_left(), caplog.at_level(logging.ERROR, "corten.network"):
                while not held.asked:
                    await asyncio.sleep(0)
                for _ in range(100):
                    await asyncio.sleep(0)
                assert held.asked == 1
                while held.asked < 2:
                    await asyncio.sleep(0.01)
                assert [record.args[0].errno for record in caplog.records] == [errno.EMFILE]
            async with asyncio.timeout(20):
                while not served:
                    await asyncio.sleep(0.01)
        served[0].close()
        listener.close()
        listener.close()
        with socket.create_connection(held.getsockname()):
            await asyncio.sleep(0)
            assert len(served) == 1
