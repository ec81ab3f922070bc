"""What a shim costs: the pages that are its own, and that the zygote rehearses without leaving anything behind."""

import os
import subprocess
import sys
from pathlib import Path

from tests.arch.sources import ROOT
from tests.kernel.shim.test_shim_life import Engine, end

_REHEARSAL = f"""
import os, sys
sys.path.insert(0, {str(ROOT.parent)!r})
from corten.shim.rehearsal import rehearse
def state():
    return len(os.listdir("/proc/self/fd")), open("/proc/thread-self/children").read()
before = state()
rehearse()
print(before == state())
"""


def own_kib(pid: int) -> int:
    """What a process has written to and shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))


async def test_a_shim_owns_less_than_a_megabyte_and_a_fifth(tmp_path: Path, busybox_root: Path) -> None:
    engine = Engine(tmp_path / os.urandom(4).hex())
    shims = [engine.shims.get(await engine.run(busybox_root, "sleep", "100")) for _ in range(3)]
    sizes = [own_kib(shim.shim_pid) for shim in shims]
    assert max(sizes) < 1200, sizes
    await end(engine)


def test_a_rehearsal_leaves_no_descriptor_and_no_child() -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _REHEARSAL], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.stdout, result.stderr, result.returncode) == ("True\n", "", 0)
