"""A hundred containers one after the other, and eight at a time: `run -d`, then `rm -f` of all."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bench.engines import Engine, engines
from bench.measure import table


def burst(engine: Engine, count: int, workers: int) -> tuple[float, float]:
    """Seconds to start `count` containers and to remove them."""
    names = [f"many{workers}-{number}" for number in range(count)]
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda name: engine.run("run", "-d", "--name", name, "busybox", "sleep", "1000"), names))
    middle = time.perf_counter()
    engine.run("rm", "-f", "-t", "0", *names) if engine.name.startswith("podman") else engine.run("rm", "-f", *names)
    return middle - start, time.perf_counter() - middle


def main() -> None:
    """Optional argument: the number of containers (default 100)."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with engines() as found:
        for workers in (1, 8):
            started, removed = {}, {}
            for engine in found:
                seconds = burst(engine, count, workers)
                started[engine.name], removed[engine.name] = [seconds[0]], [seconds[1]]
            table(f"start {count} containers, {workers} at a time", started, unit="s", scale=1)
            table(f"remove {count} containers at once", removed, unit="s", scale=1)


if __name__ == "__main__":
    main()
