"""What is freed goes back to the kernel."""

import subprocess
import sys
from pathlib import Path

import corten

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from corten.linux.heap import give_back

def resident_pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

blocks = [bytes(4000) for _ in range(10000)]
last = bytes(4000)  # above them: the heap cannot shrink by itself
del blocks
before = resident_pages()
give_back()
print(before - resident_pages())
"""


def test_freed_blocks_below_a_used_one_are_given_back():
    source = str(Path(corten.__file__).parents[1])
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAM, source], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 5000  # of some 10,000 pages of 4 KiB
