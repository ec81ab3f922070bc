"""Loop devices: a file as a block device, loop(4). Any process that may open /dev/loop-control."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_LOOP_CONFIGURE = 0x4C0A  # Linux 5.8
_LOOP_CTL_GET_FREE = 0x4C82
_LO_FLAGS_READ_ONLY = 0x1
_LO_FLAGS_AUTOCLEAR = 0x4
_FLAGS_AT = 8 + 5 * 8 + 3 * 4  # lo_flags in struct loop_config
_CONFIG_SIZE = 304
_ATTEMPTS = 64  # others take free devices at the same time


@contextmanager
def read_only_loop(fd: int, *, block_size: int) -> Iterator[str]:
    """The path of a read-only device over file `fd`. It is freed when neither this block nor a mount holds it.

    Raises OSError.
    """
    device, path = _attach(fd, block_size)
    try:
        yield path
    finally:
        os.close(device)


def _attach(fd: int, block_size: int) -> tuple[int, str]:
    config = bytearray(_CONFIG_SIZE)
    struct.pack_into("<II", config, 0, fd, block_size)
    struct.pack_into("<I", config, _FLAGS_AT, _LO_FLAGS_READ_ONLY | _LO_FLAGS_AUTOCLEAR)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _attempt in range(_ATTEMPTS):
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, bytes(config))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, path
        raise OSError(errno.EBUSY, "no loop device stays free", "/dev/loop-control")
    finally:
        os.close(control)
