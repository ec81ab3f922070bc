"""Builds, cold and cached: twenty commands, twenty settings, four stages, a copy of many small files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.engines import Docker, Engine, engines
from bench.measure import interleaved, table, timed

_STAGES = "".join(f"FROM busybox AS s{n}\nRUN sleep 1; echo {n} > /f{n}\n" for n in range(4))
DOCKERFILES = {
    "20 x RUN true": "FROM busybox\n" + "".join(f"RUN true # {n}\n" for n in range(20)),
    "20 x RUN that writes": "FROM busybox\n" + "".join(f"RUN echo {n} > /f{n}\n" for n in range(20)),
    "20 x ENV": "FROM busybox\n" + "".join(f"ENV A{n}={n}\n" for n in range(20)),
    "four stages of a second": _STAGES + "FROM busybox\n" + "".join(f"COPY --from=s{n} /f{n} /\n" for n in range(4)),
    "COPY of many files": "FROM busybox\nCOPY many /many\n",
}


def context(folder: Path, files: int) -> None:
    """Small files, a hundred a directory."""
    for number in range(files):
        path = folder / f"many/{number // 100}/{number % 100}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1024 + number * 37 % 3000))


def builders(found: list[Engine]) -> dict[str, Callable[..., list[str]]]:
    """Each engine's builders by name; Docker's second one needs its client's plugin."""
    made: dict[str, Callable[..., list[str]]] = {}
    for engine in found:
        variants = [("", "0")]
        if isinstance(engine, Docker) and _has_plugin(engine):
            variants.append((", BuildKit", "1"))
        for name, switch in variants:
            made[engine.name + name] = partial(_command, engine, switch)
    return made


def _has_plugin(engine: Engine) -> bool:
    result = subprocess.run(engine.argv("buildx", "version"), capture_output=True, check=False)
    return result.returncode == 0


def _command(engine: Engine, buildkit: str, *flags: str) -> list[str]:
    return ["env", f"DOCKER_BUILDKIT={buildkit}", *engine.argv("build", "-q", *flags)]


def main() -> None:
    """Optional arguments: the number of rounds (default 3) and of files (default 5000)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    files = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    with engines("docker") as found, tempfile.TemporaryDirectory(dir="/var/tmp") as root:
        made = builders(found)
        for title, text in DOCKERFILES.items():
            folder = Path(root) / "context"
            folder.mkdir(exist_ok=True)
            (folder / "Dockerfile").write_text(text)
            if "COPY many" in text:
                context(folder, files)
            for kind, flags in (("cold", ["--no-cache"]), ("cached", [])):
                cases = {name: partial(timed, command(*flags, str(folder))) for name, command in made.items()}
                table(f"{title}, {kind}", interleaved(cases, rounds=rounds, warmup=1))


if __name__ == "__main__":
    main()
