"""The gaps of the allocator: once filled, what is made next lies together. In an interpreter of its own."""

import subprocess
import sys

from tests.arch.sources import ROOT

_PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT.parent)!r})
from corten.shim.gaps import fill_gaps
def pools(count):
    made = [bytes(size) for size in range(20, 460, 16) for _ in range(count)]
    return len({{id(one) >> 14 for one in made}}), len({{len(one) for one in made}})
holes = [[bytes(size) for size in range(20, 460, 16)] for _ in range(1000)]
del holes[::7]
before, _sizes = pools(8)
kept = fill_gaps()
after, sizes = pools(8)
print(before, after, sizes, sum(map(len, kept)))
"""


def test_objects_of_a_size_share_a_pool_once_the_gaps_are_filled() -> None:
    result = subprocess.run([sys.executable, "-I", "-S", "-c", _PROGRAM], capture_output=True, check=True, timeout=60)
    before, after, sizes, kept = map(int, result.stdout.split())
    assert after == sizes
    assert before > after
    assert 0 < kept < 4 << 20
