"""What is mounted where in this process' mount namespace (proc_pid_mountinfo(5)). Any process; reads only."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_OCTAL = re.compile(rb"\\([0-7]{3})")


class Mounted(NamedTuple):
    """What is mounted at a place: the device (st_dev), the file system's type and its own options."""

    device: int
    fstype: str
    options: str


def mounted_at(path: str) -> Mounted | None:
    """What is mounted exactly at `path`, the topmost of several; None when nothing is."""
    wanted = os.fsencode(path)
    found = None
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            before, _, after = line.rstrip(b"\n").partition(b" - ")
            fields = before.split(b" ", 5)
            if _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), fields[4]) == wanted:
                major, _, minor = fields[2].partition(b":")
                fstype, _source, options = after.split(b" ", 2)
                found = Mounted(os.makedev(int(major), int(minor)), os.fsdecode(fstype), os.fsdecode(options))
    return found
