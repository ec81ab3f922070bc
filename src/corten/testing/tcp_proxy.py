"""A TCP proxy in the test's own process that counts what passes, holds it back and breaks it off. Test kit.

with CountingProxy(registry.host) as proxy:
    proxy.hold_at = 1_000_000        # towards the client, until `release`
    ... pull from proxy.host, kill the daemon when proxy.held is set ...
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

_STEP = 16 << 10
_NOW = struct.pack("ii", 1, 0)


class CountingProxy:
    """Listens on loopback and leads to `target`, a "host:port"; a context manager.

    `down` and `up` count the bytes towards the client and towards the target. The bytes behind `hold_at` wait; `held`
    tells that they do. The connection that brings `up` to `cut_up_at`, or sends `cut_up_before`, is reset, once.
    """

    def __init__(self, target: str) -> None:
        address, _, port = target.rpartition(":")
        self._target = (address, int(port))
        self._lock = threading.Lock()
        self._free = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.down = self.up = 0
        self.hold_at: int | None = None
        self.cut_up_at: int | None = None
        self.cut_up_before: bytes | None = None
        self.held = threading.Event()

    @property
    def host(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> CountingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for sock in self._open:
            _reset(sock)

    def release(self) -> None:
        """Let everything pass again, and count anew."""
        self.hold_at = None
        self._free.set()
        self._free = threading.Event()
        self.held.clear()
        with self._lock:
            self.down = self.up = 0

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._open += [client, server]
            for source, target, may_pass in ((client, server, self._may_go_up), (server, client, self._may_go_down)):
                threading.Thread(target=self._copy, args=(source, target, may_pass), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, may_pass: Callable[[bytes], int]) -> None:
        try:
            while data := source.recv(_STEP):
                passed = may_pass(data)
                target.sendall(data[:passed])
                if passed < len(data):
                    _reset(source)
                    _reset(target)
                    return
            target.shutdown(socket.SHUT_WR)
        except OSError:
            _reset(source)
            _reset(target)

    def _may_go_up(self, data: bytes) -> int:
        count = len(data)
        with self._lock:
            if self.cut_up_before is not None and self.cut_up_before in data:
                self.cut_up_before = None
                return 0
            if self.cut_up_at is not None and self.up + count > self.cut_up_at:
                count = self.cut_up_at - self.up
                self.cut_up_at = None
            self.up += count
        return count

    def _may_go_down(self, data: bytes) -> int:
        count, free = len(data), self._free
        if self.hold_at is not None and self.down + count > self.hold_at:
            self.held.set()
            free.wait(120)
            return 0  # whoever was waiting is gone, or asks again
        with self._lock:
            self.down += count
        return count


def _reset(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
