"""Builds by Corten, the classic builder and BuildKit in one run: cached, cold, copies of many files, stages.

`python -m bench.build [--rounds 3] [--files 50000] [--only TEXT] [--no-classic] [--corten-buildkit]`; the last one adds
the docker CLI with BuildKit's API against Corten.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.lab import peers
from tests.lab.daemon import docker_cli

from bench import build_api
from bench.engines import CortenByCorten, CortenByDocker, Docker, Engine, engines
from bench.measure import interleaved, table, timed

_STAGES = "".join(f"FROM busybox AS s{n}\nRUN sleep 1; echo {n} > /f{n}\n" for n in range(4))
_APPLICATION = (
    "FROM busybox\nENV A=1 B=2\nENV C=3\nWORKDIR /app\nCOPY many/0 requirements\n"
    + "".join(f"RUN true # {n}\n" for n in range(6))
    + "COPY many .\n"
    + "".join(f"RUN true # {n}\n" for n in range(6, 12))
    + "EXPOSE 80\nSTOPSIGNAL SIGQUIT\nCMD true\n"
)
DOCKERFILES = {
    build_api.TITLE: build_api.DOCKERFILE,
    "20 x RUN that writes": "FROM busybox\n" + "".join(f"RUN echo {n} > /f{n}\n" for n in range(20)),
    "20 x ENV": "FROM busybox\n" + "".join(f"ENV A{n}={n}\n" for n in range(20)),
    "four stages of a second": _STAGES + "FROM busybox\n" + "".join(f"COPY --from=s{n} /f{n} /\n" for n in range(4)),
    "20 steps of an application": _APPLICATION,
    "COPY of many files": "FROM busybox\nCOPY many /many\n",
    "bind of many files": "FROM busybox\nRUN --mount=type=bind,target=/src true\n",
}
_CLASSIC_FILES = 5000  # the classic builder takes minutes for more
_FILES = {"20 steps of an application": 2000}  # in the context; --files for others that copy some
# What is wanted of Corten's own command: the most of BuildKit's time, and of the classic builder's. Of a cached build
# without files the classic builder's command is nearly all docker's own start, which its table shows (`_START`): there
# the builders are compared without their clients (`build_api`).
WANTED = {
    ("20 x RUN true", "cached"): (0.5, None),
    ("20 x RUN true", "cold"): (0.5, 0.25),
    ("20 steps of an application", "cached"): (0.5, 0.5),
    ("COPY of many files", "cold"): (0.5, None),
    ("COPY of many files", "cached"): (0.3, None),
    ("bind of many files", "cold"): (1.0, None),
    ("four stages of a second", "cold"): (1.0, None),
}
_START = "docker --version"
CORTEN, CLASSIC, BUILDKIT = "corten", "docker 26, classic", "docker 26, BuildKit"


class Builder:
    """One way to build: `command(context, flags)`."""

    def __init__(self, engine: Engine, *, buildkit: bool, config: Path) -> None:
        self._engine = engine
        self._environment = [f"DOCKER_BUILDKIT={int(buildkit)}", f"DOCKER_CONFIG={config}"]

    def command(self, context: Path, *flags: str) -> list[str]:
        return ["env", *self._environment, *self._engine.argv("build", "-q", *flags, str(context))]


def builders(found: list[Engine], config: Path, *, classic: bool, corten_buildkit: bool) -> dict[str, Builder]:
    """The builders by name. Docker's client finds its plugin by `config`."""
    made: dict[str, Builder] = {}
    for engine in found:
        if isinstance(engine, CortenByCorten):
            made[CORTEN] = Builder(engine, buildkit=False, config=config)
        elif isinstance(engine, CortenByDocker):
            made["corten by docker, classic"] = Builder(engine, buildkit=False, config=config)
            if corten_buildkit:
                made["corten by docker, BuildKit"] = Builder(engine, buildkit=True, config=config)
        elif isinstance(engine, Docker):
            if classic:
                made[CLASSIC] = Builder(engine, buildkit=False, config=config)
            made[BUILDKIT] = Builder(engine, buildkit=True, config=config)
    return made


def plugins(root: Path) -> Path:
    """A client's configuration that knows the peers' buildx."""
    config = root / "docker"
    config.mkdir()
    directory = peers.folder() / "usr/libexec/docker/cli-plugins"
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(directory)]}))
    return config


def context(folder: Path, text: str, files: int) -> None:
    """A Dockerfile, and small files, a hundred a directory."""
    folder.mkdir()
    (folder / "Dockerfile").write_text(text)
    for number in range(files):
        path = folder / f"many/{number // 100}/{number % 100}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1024 + number * 37 % 3000))


def cold(builder: Builder, pattern: Path, *, fresh: bool) -> float:
    """A build without a cache; with `fresh` of files that nobody has seen before."""
    if not fresh:
        return timed(builder.command(pattern, "--no-cache"))
    copy = Path(tempfile.mkdtemp(dir=pattern.parent))
    try:
        subprocess.run(["cp", "-a", f"{pattern}/.", str(copy)], check=True)
        return timed(builder.command(copy, "--no-cache"))
    finally:
        shutil.rmtree(copy)


def compare(title: str, kind: str, cases: Mapping[str, Callable[[], float]], rounds: int) -> None:
    """The table, and whether Corten is as fast as wanted."""
    samples = interleaved(cases, rounds=rounds, warmup=1 if kind == "cached" else 0)
    table(f"{title}, {kind}", samples)
    median = {name: sorted(values)[len(values) // 2] for name, values in samples.items()}
    for other, wanted in zip((BUILDKIT, CLASSIC), WANTED.get((title, kind), (None, None)), strict=True):
        if wanted is not None and other in median:
            ratio = median[CORTEN] / median[other]
            verdict = "ok" if ratio <= wanted else "SLOWER THAN WANTED"
            print(f"  {verdict}: {ratio:.2f} of {other}, at most {wanted} wanted")


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m bench.build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--only", default="", help="titles that hold this text")
    parser.add_argument("--no-classic", action="store_true", help="without Docker's classic builder, which is slow")
    parser.add_argument("--corten-buildkit", action="store_true", help="also the docker CLI with BuildKit on Corten")
    given = parser.parse_args()
    with engines("docker") as found, tempfile.TemporaryDirectory(dir="/var/tmp") as root:
        made = builders(found, plugins(Path(root)), classic=not given.no_classic, corten_buildkit=given.corten_buildkit)
        for number, (title, text) in enumerate(DOCKERFILES.items()):
            if given.only not in title:
                continue
            many = "COPY many" in text or "--mount" in text
            files = _FILES.get(title, given.files) if many else 0
            is_classic = "--mount" not in text and files <= _CLASSIC_FILES
            able = {name: builder for name, builder in made.items() if name != CLASSIC or is_classic}
            folder = Path(root) / f"context-{number}"
            context(folder, text, files)
            colds = {name: partial(cold, builder, folder, fresh=many) for name, builder in able.items()}
            compare(title, "cold", colds, given.rounds)
            cached = {name: partial(timed, builder.command(folder)) for name, builder in able.items()}
            if title == build_api.TITLE:
                cached[_START] = partial(timed, ["env", docker_cli(), "--version"])
            compare(title, "cached", cached, given.rounds)
            if title == build_api.TITLE and not given.no_classic:
                build_api.compare(found)


if __name__ == "__main__":
    main()
