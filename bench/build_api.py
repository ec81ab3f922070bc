"""A cached build over POST /build, without any client's cost: what the daemons themselves take for it.

`python -m bench.build_api [ROUNDS]` (default 200), Corten and Docker 26's classic builder in turn; `bench.build` has
the same table beside that of the commands.
"""

from __future__ import annotations

import io
import sys
import tarfile
import time
from pathlib import Path
from statistics import median

from bench.api import UnixConnection
from bench.engines import CortenByDocker, Docker, Engine, engines
from bench.measure import interleaved, table

TITLE = "20 x RUN true"
DOCKERFILE = "FROM busybox\n" + "".join(f"RUN true # {n}\n" for n in range(20))
_CORTEN, _CLASSIC = "corten", "docker 26, classic"
_ROUNDS = 200
_WANTED = 0.5  # of the classic builder's time


def context(text: str) -> bytes:
    """A tar with a Dockerfile."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return file.getvalue()


def build(connection: UnixConnection, body: bytes) -> float:
    """Seconds of one build; raises unless it succeeds."""
    begun = time.perf_counter()
    connection.request("POST", "/v1.43/build?q=1&t=bench:build", body, {"Content-Type": "application/x-tar"})
    text = connection.getresponse().read()
    seconds = time.perf_counter() - begun
    if b"sha256:" not in text or b"error" in text:
        raise RuntimeError(f"the build failed: {text[-500:]!r}")
    return seconds


def compare(found: list[Engine], rounds: int = _ROUNDS) -> None:
    """The table of the builders alone, and whether Corten's is as fast as wanted."""
    connections = {}
    for engine in found:
        if isinstance(engine, CortenByDocker):
            connections[_CORTEN] = UnixConnection(str(engine.daemon.socket))
        elif isinstance(engine, Docker):
            socket = Path(engine.dockerd.host.removeprefix("unix://"))
            connections[_CLASSIC] = UnixConnection(str(socket))
    body = context(DOCKERFILE)
    cases = {name: lambda c=c: build(c, body) for name, c in connections.items()}
    samples = interleaved(cases, rounds=rounds, warmup=3)
    table(f"{TITLE}, cached, over the API: the builders without clients", samples)
    if _CLASSIC in samples:
        ratio = median(samples[_CORTEN]) / median(samples[_CLASSIC])
        verdict = "ok" if ratio <= _WANTED else "SLOWER THAN WANTED"
        print(f"  {verdict}: {ratio:.2f} of {_CLASSIC}, at most {_WANTED} wanted")


def main() -> None:
    """See above."""
    with engines("docker") as found:
        compare(found, *map(int, sys.argv[1:2]))


if __name__ == "__main__":
    main()
