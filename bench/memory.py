"""Memory as PSS: the helper processes per container, and the idle engine.

PSS (proc_pid_smaps(5)) shares each page between those who map it, so a forked shim pays for what it has changed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.engines import CortenByDocker, Docker, Engine, Podman, engines

_COUNT = 40
_HELPERS = {"corten-shim", "containerd-shim", "conmon"}


def pss_kib(pid: int) -> int:
    """Proportional set size of a process in KiB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def processes() -> dict[int, tuple[str, str]]:
    """pid -> (comm, command line) of all processes."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                comm = Path(f"/proc/{entry}/comm").read_text().strip()
                found[int(entry)] = (comm, Path(f"/proc/{entry}/cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    return found


def children(roots: set[int]) -> set[int]:
    """`roots` and all their descendants."""
    parents = {}
    for pid in processes():
        try:
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = set(roots)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def engine_pids(engine: Engine) -> set[int]:
    """The processes of an engine that are not containers."""
    match engine:
        case CortenByDocker():
            return {p for p in children({engine.daemon.pid}) if processes().get(p, ("", ""))[0] != "sleep"}
        case Docker():
            names = ("dockerd", "containerd", "containerd-shim", "docker-proxy")
            return {p for p, (comm, _line) in processes().items() if comm.startswith(names)}
        case _:
            return {p for p, (comm, _line) in processes().items() if comm.startswith("conmon")}


def main() -> None:
    """Print PSS idle, per container with many running, and what the whole engine grew by for each."""
    with engines() as found:
        for engine in found:
            if not isinstance(engine, CortenByDocker | Docker | Podman):
                continue
            time.sleep(2)
            known = engine_pids(engine)
            before = sum(map(pss_kib, known))
            names = [f"memory{number}" for number in range(_COUNT)]
            for name in names:
                engine.run("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000")
            time.sleep(2)
            after = engine_pids(engine)
            helpers = [pss_kib(pid) for pid in after - known if processes().get(pid, ("", ""))[0] in _HELPERS]
            grown = (sum(map(pss_kib, after)) - before) / 1024 / _COUNT
            print(
                f"{engine.name}: idle {before / 1024:.1f} MB; with {_COUNT} containers a helper has "
                f"{sum(helpers) / 1024 / len(helpers):.2f} MB, the engine grew by {grown:.2f} MB for each"
            )
            engine.run("rm", "-f", *names)


if __name__ == "__main__":
    main()
