"""Exec latency: `exec NAME true` in a running container."""

from __future__ import annotations

import sys

from bench.engines import engines
from bench.measure import interleaved, table, timed


def main() -> None:
    """Optional argument: the number of rounds (default 20)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with engines() as found:
        for number, engine in enumerate(found):
            engine.run("run", "-d", "--name", f"bench{number}", "busybox", "sleep", "1000")
        cases = {e.name: (lambda e=e, n=n: timed(e.argv("exec", f"bench{n}", "true"))) for n, e in enumerate(found)}
        table("exec true", interleaved(cases, rounds=rounds))
        for number, engine in enumerate(found):
            engine.run("rm", "-f", f"bench{number}")


if __name__ == "__main__":
    main()
