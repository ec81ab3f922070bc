"""A cached build over POST /build, without any client's cost: what the daemons themselves take for it.

`python -m bench.build_api [ROUNDS]` (default 200), Corten and Docker 26's classic builder in turn.
"""

from __future__ import annotations

import io
import sys
import tarfile
import time
from pathlib import Path
from statistics import median

from bench.api import UnixConnection
from bench.build import CLASSIC, DOCKERFILES
from bench.engines import CortenByDocker, Docker, engines
from bench.measure import interleaved, table

_TITLE = "20 x RUN true"
_CORTEN = "corten"
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


def main() -> None:
    """See above."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with engines("docker") as found:
        connections = {}
        for engine in found:
            if isinstance(engine, CortenByDocker):
                connections[_CORTEN] = UnixConnection(str(engine.daemon.socket))
            elif isinstance(engine, Docker):
                socket = Path(engine.dockerd.host.removeprefix("unix://"))
                connections[CLASSIC] = UnixConnection(str(socket))
        body = context(DOCKERFILES[_TITLE])
        cases = {name: lambda c=c: build(c, body) for name, c in connections.items()}
        samples = interleaved(cases, rounds=rounds, warmup=3)
        table(f"{_TITLE}, cached, over the API", samples)
        ratio = median(samples[_CORTEN]) / median(samples[CLASSIC])
        verdict = "ok" if ratio <= _WANTED else "SLOWER THAN WANTED"
        print(f"  {verdict}: {ratio:.2f} of {CLASSIC}, at most {_WANTED} wanted")


if __name__ == "__main__":
    main()
