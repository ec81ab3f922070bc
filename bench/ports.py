"""What published ports cost a start, over the API: none, one, a thousand; and by how much one is slower than none."""

from __future__ import annotations

import json
import statistics
import sys
import time

from bench.api import UnixConnection, call
from bench.engines import CortenByDocker, Docker, engines
from bench.measure import table

_FIRST = 21_000


def start(connection: UnixConnection, ports: int) -> float:
    """Seconds of the start of a container with so many ports."""
    numbers = [str(_FIRST + offset) for offset in range(ports)]
    body = {
        "Image": "busybox",
        "Cmd": ["sleep", "1000"],
        "ExposedPorts": {f"{number}/tcp": {} for number in numbers},
        "HostConfig": {"PortBindings": {f"{number}/tcp": [{"HostPort": number}] for number in numbers}},
    }
    made = json.loads(call(connection, "POST", "/containers/create", body))["Id"]
    begun = time.perf_counter()
    call(connection, "POST", f"/containers/{made}/start")
    seconds = time.perf_counter() - begun
    call(connection, "DELETE", f"/containers/{made}?force=1")
    time.sleep(0.05)  # the sandbox of the next one is prepared meanwhile, as it is between what people start
    return seconds


def main() -> None:
    """Optional argument: the number of rounds (default 30); a thousand ports are tried in a tenth of them."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with engines("docker") as found:
        connections = {
            engine.name: UnixConnection(
                str(
                    engine.daemon.socket
                    if isinstance(engine, CortenByDocker)
                    else engine.dockerd.shared / "docker.sock"
                )
            )
            for engine in found
            if isinstance(engine, CortenByDocker | Docker)
        }
        samples: dict[int, dict[str, list[float]]] = {
            ports: {name: [] for name in connections} for ports in (0, 1, 1000)
        }
        for number in range(rounds):
            for ports in (0, 1, 1000) if number % 10 == 0 else (0, 1):
                for name, connection in connections.items():
                    if ports < 1000 or "corten" in name:  # a thousand ports are two thousand processes with Docker
                        samples[ports][name].append(start(connection, ports))
        for ports, values in samples.items():
            table(f"start with {ports} published ports", {name: times for name, times in values.items() if times})
        for name in connections:
            more = statistics.median(b - a for a, b in zip(samples[0][name], samples[1][name], strict=True))
            print(f"\none port costs a start, {name}: {more * 1000:.2f} ms")


if __name__ == "__main__":
    main()
