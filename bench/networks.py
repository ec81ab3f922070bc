"""A network made and removed: over the API, which is the engine's own time, and by each client."""

from __future__ import annotations

import json
import sys
import time

from bench.api import UnixConnection, call
from bench.engines import CortenByDocker, Docker, engines
from bench.measure import interleaved, table, timed


def by_api(socket: str) -> dict[str, float]:
    """Seconds of create and remove."""
    connection = UnixConnection(socket)
    begun = time.perf_counter()
    made = json.loads(call(connection, "POST", "/networks/create", {"Name": "bench"}))["Id"]
    created = time.perf_counter()
    call(connection, "DELETE", f"/networks/{made}")
    connection.close()
    return {"create": created - begun, "remove": time.perf_counter() - created}


def main() -> None:
    """Optional argument: the number of rounds (default 20)."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with engines("docker") as found:
        sockets = {
            engine.name: engine.daemon.socket
            if isinstance(engine, CortenByDocker)
            else engine.dockerd.shared / "docker.sock"
            for engine in found
            if type(engine) in (CortenByDocker, Docker)
        }
        samples: dict[str, dict[str, list[float]]] = {}
        for number in range(2 + rounds):
            for name, path in sockets.items():
                for step, seconds in by_api(str(path)).items():
                    if number >= 2:
                        samples.setdefault(step, {}).setdefault(name, []).append(seconds)
        for step, values in samples.items():
            table(f"network {step}, API", values)
        both = {
            name: [a + b for a, b in zip(samples["create"][name], samples["remove"][name], strict=True)]
            for name in sockets
        }
        table("network create and rm, API", both)
        cases = {
            e.name: (lambda e=e: timed(e.argv("network", "create", "bench")) + timed(e.argv("network", "rm", "bench")))
            for e in found
        }
        table("network create and rm, client", interleaved(cases, rounds=rounds))


if __name__ == "__main__":
    main()
