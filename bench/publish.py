"""A port published on 127.0.0.1: requests a second on kept connections and on new ones, and bytes a second.

nginx in a container, one client process on the same host (for an engine in a network namespace: in that one).
"""

from __future__ import annotations

import select
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

_PORT = 18080
_CONNECTIONS = 16
_SECONDS = 3.0
_BIG_BYTES = 1 << 30
_KINDS = ("requests/s, kept connections", "requests/s, a connection each", "MB/s")


def _request(path: str, *, keep: bool) -> bytes:
    connection = "keep-alive" if keep else "close"
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: {connection}\r\n\r\n".encode()


def _connect() -> socket.socket:
    return socket.create_connection(("127.0.0.1", _PORT), 10)


def requests_on_kept_connections() -> float:
    """Requests a second, one outstanding on each connection; nginx closes one after a thousand of them."""
    clients: dict[int, socket.socket] = {}
    ask = _request("/small", keep=True)
    poll = select.epoll()

    def ask_anew() -> None:
        client = _connect()
        clients[client.fileno()] = client
        poll.register(client, select.EPOLLIN)
        client.sendall(ask)

    for _ in range(_CONNECTIONS):
        ask_anew()
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _SECONDS:
        for number, _event in poll.poll(1.0):
            answer = clients[number].recv(4096)
            done += bool(answer)
            if not answer or b"Connection: close" in answer:
                clients.pop(number).close()
                ask_anew()
            else:
                clients[number].sendall(ask)
    return done / elapsed


def requests_on_new_connections() -> float:
    """Requests a second, each on a connection of its own, one after the other."""
    ask = _request("/small", keep=False)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < _SECONDS:
        with _connect() as client:
            client.sendall(ask)
            while client.recv(4096):
                pass
        done += 1
    return done / elapsed


def throughput() -> float:
    """Megabytes a second of one large answer."""
    buffer = bytearray(1 << 20)
    with _connect() as client:
        client.sendall(_request("/big", keep=False))
        done, start = 0, time.perf_counter()
        while count := client.recv_into(buffer):
            done += count
        if done < _BIG_BYTES:
            raise RuntimeError(f"the server sent {done} bytes only")
        return done / (time.perf_counter() - start) / 1e6


_CLIENTS = (requests_on_kept_connections, requests_on_new_connections, throughput)


def _measure(netns: Path | None, number: int) -> float:
    inside = ["nsenter", f"--net={netns}"] if netns else []
    command = [*inside, sys.executable, str(Path(__file__).resolve()), "client", str(number)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Optional argument: the number of rounds (default 5)."""
    from tests.lab import images

    from bench.engines import CortenByCorten, engines

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with engines("docker") as every:
        found = [engine for engine in every if not isinstance(engine, CortenByCorten)]
        prepare = f"cd /var/www/html && echo small > small && truncate -s {_BIG_BYTES} big"
        samples: dict[tuple[str, int], list[float]] = {}
        for engine in found:
            folder, seen = engine.folder(Path("/var/tmp"))
            archive = folder / "bench-nginx.tar"
            archive.write_bytes(images.nginx().read_bytes())
            engine.run("load", "-i", f"{seen}/bench-nginx.tar")
            archive.unlink()
            engine.run("run", "-d", "--name", "bench", "-p", f"127.0.0.1:{_PORT}:80", "nginx")
            engine.run("exec", "bench", "sh", "-c", prepare)
        for _ in range(rounds):
            for number in range(len(_KINDS)):
                for engine in found:
                    samples.setdefault((engine.name, number), []).append(_measure(engine.netns, number))
        for number, kind in enumerate(_KINDS):
            print(f"\n{kind}")
            medians = {engine.name: statistics.median(samples[engine.name, number]) for engine in found}
            first = next(iter(medians.values()))
            for name, value in medians.items():
                print(f"  {name:<20} median {value:10.0f}  Corten is {first / value:.2f} of it")
        for engine in found:
            engine.run("rm", "-f", "bench")


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "client":
        print(_CLIENTS[int(sys.argv[2])]())
    else:
        main()
