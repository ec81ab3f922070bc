"""What is mounted where in this process' mount namespace (proc_pid_mountinfo(5)). Any process; reads only."""

from __future__ import annotations

import os
import re

_OCTAL = re.compile(rb"\\([0-7]{3})")


def device_at(path: str) -> int | None:
    """The device (st_dev) of what is mounted exactly at `path`, the topmost of several; None when nothing is."""
    wanted = os.fsencode(path)
    found = None
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            fields = line.split(b" ", 5)
            if _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), fields[4]) == wanted:
                major, _, minor = fields[2].partition(b":")
                found = os.makedev(int(major), int(minor))
    return found
