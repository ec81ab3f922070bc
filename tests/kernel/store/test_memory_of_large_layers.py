"""A layer of 50,000 files costs little memory while its image is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_LIMIT_KB = 60 << 10
_PROJECT = Path(__file__).resolve().parents[3]
_PROGRAM = """
import itertools, os, resource, sys
sys.path[:0] = [sys.argv[2], sys.argv[2] + "/src"]
from corten.store.erofs.writer import write_image
from tests.kernel.store.tars import member

class Layer:
    def __init__(self):
        self.parts = self.make()
    def make(self):
        for number in range(50_000):
            if number % 50 == 0:
                yield member("dir", f"d{number // 50:04}")
            yield member("file", f"d{number // 50:04}/a-file-of-some-name-{number}", b"x" * (number % 4000))
        yield bytes(1024)
    def read(self, size=-1, /):
        return b"".join(itertools.islice(self.parts, 200))

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
print(write_image(fd, Layer(), lambda path: None)[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_fifty_thousand_files_take_little_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "image"), str(_PROJECT)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    size, used_kb = map(int, run.stdout.split())
    assert size == sum(number % 4000 for number in range(50_000))
    assert used_kb < _LIMIT_KB
