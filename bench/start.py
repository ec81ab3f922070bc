"""Start latency: `run --rm busybox true`, with the default bridge and with `--network none`."""

from __future__ import annotations

import sys

from bench.engines import engines
from bench.measure import interleaved, table, timed


def main() -> None:
    """Optional argument: the number of rounds (default 20)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with engines() as found:
        for title, flags in (("bridge", []), ("--network none", ["--network", "none"])):
            cases = {
                e.name: (lambda e=e, flags=flags: timed(e.argv("run", "--rm", *flags, "busybox", "true")))
                for e in found
            }
            table(f"run --rm busybox true, {title}", interleaved(cases, rounds=rounds))


if __name__ == "__main__":
    main()
