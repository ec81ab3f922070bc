"""Queries a second of the embedded DNS servers, each asked from inside of a container: one at a time, many at once,
and over TCP with a connection a query."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Callable

from bench.engines import CortenByDocker, Docker, Engine, engines
from bench.measure import table

_SERVER = ("127.0.0.11", 53)
_SECONDS = 2.0
_AT_ONCE = 32
_ROUNDS = 5
_CLONE_NEWNET = 0x40000000


def query(name: str, identity: int) -> bytes:
    """An A query."""
    labels = bytes([len(name)]) + name.encode() + b"\0"
    return struct.pack("!6H", identity, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!2H", 1, 1)


def over_udp(at_once: int) -> float:
    """Answers a second with `at_once` queries on their way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect(_SERVER)
        for number in range(at_once):
            sock.send(query("target", number))
        answers = 0
        begun = time.perf_counter()
        while time.perf_counter() - begun < _SECONDS:
            if struct.unpack_from("!H", sock.recv(512), 6)[0] != 1:
                raise RuntimeError("not one answer")
            answers += 1
            sock.send(query("target", answers & 0xFFFF))
        return answers / (time.perf_counter() - begun)


def over_tcp() -> float:
    """Answers a second, a connection each."""
    data = query("target", 1)
    answers = 0
    begun = time.perf_counter()
    while time.perf_counter() - begun < _SECONDS:
        with socket.create_connection(_SERVER, 5) as sock:
            sock.sendall(len(data).to_bytes(2, "big") + data)
            if len(sock.recv(600)) < len(data):
                raise RuntimeError("no answer")
        answers += 1
    return answers / (time.perf_counter() - begun)


def inside(pid: int, work: Callable[[], float]) -> float:
    """Do `work` in the network namespace of a process, in a child of this one."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.write(writer, struct.pack("d", work()))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    if not data:
        raise RuntimeError("the load could not be made")
    rate: float = struct.unpack("d", data)[0]
    return rate


def asker(engine: Engine) -> int:
    """A network with a target and one who asks; the pid of the latter."""
    engine.run("network", "create", "bench-dns")
    for name in ("target", "asker"):
        engine.run("run", "-d", "--name", name, "--network", "bench-dns", "busybox", "sleep", "1000")
    return int(engine.run("inspect", "-f", "{{.State.Pid}}", "asker"))


def main() -> None:
    """Measure and print."""
    with engines("docker") as both:
        found = [engine for engine in both if isinstance(engine, CortenByDocker | Docker)]
        pids = {engine: asker(engine) for engine in found}
        loads: dict[str, Callable[[], float]] = {
            "UDP, one at a time": lambda: over_udp(1),
            f"UDP, {_AT_ONCE} at once": lambda: over_udp(_AT_ONCE),
            "TCP, a connection a query": over_tcp,
        }
        for title, load in loads.items():
            samples: dict[str, list[float]] = {engine.name: [] for engine in found}
            for _ in range(_ROUNDS):
                for engine in found:
                    samples[engine.name].append(inside(pids[engine], load))
            table(f"DNS queries a second: {title}", samples, unit="/s", scale=1.0)
        for engine in found:
            engine.run("rm", "-f", "target", "asker")
            engine.run("network", "rm", "bench-dns")


if __name__ == "__main__":
    main()
