"""Gigabits a second by iperf3, both ends in containers: within a network, and through a published port by way of the
host's loopback address and of another address of it."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from tests.lab import images

from bench.engines import CortenByCorten, Engine, engines

_PORT = 15201
_SECONDS = 2


def prepare(engine: Engine) -> dict[str, list[str]]:
    """A server in a network; the client's flags for each way to it."""
    folder, seen = engine.folder(Path("/var/tmp"))
    archive = folder / "bench-load.tar"
    archive.write_bytes(images.load().read_bytes())
    engine.run("load", "-i", f"{seen}/bench-load.tar")
    archive.unlink()
    engine.run("network", "create", "bench")
    server = ["run", "-d", "--name", "server", "--network", "bench", "-p", f"{_PORT}:5201", "load", "iperf3", "-s"]
    engine.run(*server)
    gateway = engine.run("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bench")
    host = ["--network", "host", "load", "iperf3", "-p", str(_PORT), "-c"]
    return {
        "container to container": ["--network", "bench", "load", "iperf3", "-c", "server"],
        "published, 127.0.0.1": [*host, "127.0.0.1"],
        "published, another address": [*host, gateway],
    }


def measure(engine: Engine, way: list[str]) -> float:
    """Gigabits a second."""
    for _ in range(50):
        try:
            report = json.loads(engine.run("run", "--rm", *way, "-t", str(_SECONDS), "-J"))
        except RuntimeError:  # the server does not listen yet, or has not closed the last test
            time.sleep(0.1)
        else:
            return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9
    raise RuntimeError(f"{engine.name}: iperf3 does not get through: {way}")


def main() -> None:
    """Optional argument: the number of rounds (default 7)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with engines("docker") as every:
        found = [engine for engine in every if not isinstance(engine, CortenByCorten)]
        ways = {engine: prepare(engine) for engine in found}
        samples: dict[tuple[str, str], list[float]] = {}
        for _ in range(rounds):
            for engine in found:
                for name, way in ways[engine].items():
                    samples.setdefault((name, engine.name), []).append(measure(engine, way))
        for name in ways[found[0]]:
            print(f"\n{name}, Gbit/s")
            corten = samples[name, found[0].name]
            for engine in found:
                values = samples[name, engine.name]
                ratio = statistics.median(a / b for a, b in zip(corten, values, strict=True))
                shown = " ".join(f"{value:.1f}" for value in values)
                print(
                    f"  {engine.name:<19} median {statistics.median(values):6.1f}  Corten: {ratio:.2f} of it  ({shown})"
                )
        for engine in found:
            engine.run("rm", "-f", "server")
            engine.run("network", "rm", "bench")


if __name__ == "__main__":
    main()
