"""Fault points act only when they are armed, and only where they exist; a full disk is said in one way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from corten.errors import InvalidArgument
from corten.lib import faultpoint
from corten.lib.disk_full import DiskFull, is_disk_full, saying, words

_PROGRAM = """
import sys
from corten.lib import faultpoint
faultpoint.arm(sys.argv[1])
for number in range(3):
    faultpoint.reach("blob.synced")
    print(number, flush=True)
"""


def run(text: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, text], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "status", "passes"),
    [("", 0, 3), ("blob.stored", 0, 3), ("blob.synced", -9, 0), ("layer.read,blob.synced:2", -9, 1),
     ("blob.synced:3=TERM", -15, 2)],
)  # fmt: skip
def test_a_place_ends_the_process_when_it_is_armed(text: str, status: int, passes: int) -> None:
    code, out, err = run(text)
    assert (code, len(out.split())) == (status, passes)
    assert ("fault point blob.synced" in err) == bool(status)


@pytest.mark.parametrize("text", ["nowhere", "blob.synced:x", "blob.synced=NOTHING", "blob.synced=BLOCK", "=KILL"])
def test_what_names_no_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="CORTEN_FAULT"):
        faultpoint.arm(text)
    faultpoint.arm("")


def test_a_full_disk_is_named_once_and_other_errors_stay() -> None:
    for number, ending in ((errno.ENOSPC, "no space left on device"), (errno.EDQUOT, "disk quota exceeded")):
        with pytest.raises(DiskFull) as caught, saying("outer"), saying("write x"):
            raise OSError(number, "whatever")
        assert str(caught.value) == words(caught.value) == f"write x: {ending}"
        assert is_disk_full(caught.value)
        assert words(OSError(number, "whatever", "/a")) == f"write /a: {ending}"
    with pytest.raises(PermissionError), saying("write x"):
        raise PermissionError(errno.EACCES, "no")
    assert words(OSError(errno.EIO, "bad")) == "[Errno 5] bad"
