"""Published ports in the kernel's sets: single elements (a hash) against intervals (with several fields: pipapo).

For each: nanoseconds of a look-up that hits and of one that misses, milliseconds of the transaction by nft(8), and
bytes of kernel memory an element. The look-ups are those of packets over loopback, twenty rules each, in a network
namespace of the benchmark's own.
"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from tests.lab import peers

_RULES = 20
_PACKETS = 20_000
_HIT, _MISS = 20_501, 19_999
_PORTS = 2000
_MANY = 20_000  # elements for what one of them weighs
_CASES = {  # name -> (flags, elements)
    "no set": ("", []),
    "2,000 elements": ("", [str(20_000 + n) for n in range(_PORTS)]),
    "one interval of 2,000": ("flags interval;", [f"20000-{20_000 + _PORTS - 1}"]),
    "1,000 elements": ("", [str(20_001 + 2 * n) for n in range(1000)]),
    "1,000 intervals of two": ("flags interval;", [f"{20_001 + 3 * n}-{20_002 + 3 * n}" for n in range(1000)]),
}


def ruleset(flags: str, elements: list[str], *, rules: int) -> str:
    """A table with the set and a chain that looks into it for each packet."""
    content = f"elements = {{ {', '.join(f'udp . {text}' for text in elements)} }}" if elements else ""
    look = "meta l4proto . th dport @ports\n" * (rules if elements else 0)
    return (
        f"table inet bench {{\nset ports {{ type inet_proto . inet_service; {flags} {content} }}\n"
        f"chain look {{ type filter hook output priority 0;\n{look}}}\n}}\n"
    )


def send(port: int) -> float:
    """Nanoseconds a packet of a stream of datagrams to a port where nobody reads."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out,
    ):
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sink.bind(("127.0.0.1", port))
        out.connect(("127.0.0.1", port))
        begun = time.perf_counter_ns()
        for _ in range(_PACKETS):
            out.send(b"x")
        return (time.perf_counter_ns() - begun) / _PACKETS


@contextmanager
def world() -> Iterator[peers.Inside]:
    """nft(8), and a network namespace."""
    with tempfile.TemporaryDirectory(prefix="corten-bench-", dir="/var/tmp") as folder:
        inside = peers.Inside(Path(folder))
        try:
            yield inside
        finally:
            inside.stop()


def load(inside: peers.Inside, text: str) -> float:
    """Milliseconds of the whole ruleset, made anew; reading the text is part of it."""
    subprocess.run(inside.argv("nft", "flush", "ruleset"), check=True)
    begun = time.perf_counter()
    subprocess.run(inside.argv("nft", "-f", "-"), input=text, text=True, check=True)
    return (time.perf_counter() - begun) * 1000


def slab_bytes() -> int:
    """What the kernel's small objects take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("SUnreclaim:"))


def main() -> None:
    """Optional argument: the number of rounds (default 7)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    samples: dict[tuple[str, str], list[float]] = {}
    with world() as inside:
        for _ in range(rounds):
            for name, (flags, elements) in _CASES.items():
                samples.setdefault((name, "load"), []).append(load(inside, ruleset(flags, elements, rules=_RULES)))
                for kind, port in (("hit", _HIT), ("miss", _MISS)):
                    argv = ["nsenter", f"--net={inside.netns}", sys.executable, __file__, "send", str(port)]
                    found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
                    samples.setdefault((name, kind), []).append(float(found))
        medians = {key: statistics.median(values) for key, values in samples.items()}
        for name in list(_CASES)[1:]:
            hit, miss = ((medians[name, kind] - medians["no set", kind]) / _RULES for kind in ("hit", "miss"))
            made = medians[name, "load"] - medians["no set", "load"]
            print(f"{name:<24} hit {hit:6.0f} ns  miss {miss:6.0f} ns  transaction by nft(8) {made:6.1f} ms")
        for name, flags, elements in (
            ("an element", "", [str(1 + n) for n in range(_MANY)]),
            ("an interval", "flags interval;", [f"{1 + 3 * n}-{2 + 3 * n}" for n in range(_MANY // 10)]),
        ):
            load(inside, ruleset("", [], rules=0))
            before = slab_bytes()
            load(inside, ruleset(flags, elements, rules=0))
            print(f"{name:<24} {(slab_bytes() - before) / len(elements):6.0f} bytes")


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "send":
        print(send(int(sys.argv[2])))
    else:
        main()
