"""A registry in the test's own process, with faults on order: cuts, wrong bytes, stalls, refusals, tokens. Test kit.

It speaks enough of the OCI distribution-spec to pull and push, holds all in memory, and serves loopback only.

    with FakeRegistry() as registry:
        registry.add_image("library/demo", "latest", layers=[...])
        registry.faults.append(Fault(path="/blobs/", status=503))
"""

from __future__ import annotations

import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any

from corten.testing.made_images import MANIFEST, MadeImage, digest_of, make_image
from corten.testing.registry_handler import RegistryHandler


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with the next `times` requests whose path holds `path`, after `skip` of them; used up in order.

    Instead of an answer: `status` with `headers` and `body`; `raw` bytes, after which the connection is reset; with
    `take`, only so many bytes of the request's body are read before the reset. In an answer: `headers` besides or
    instead of its own; `change` makes another body of it; `corrupt` turns a bit; `ignore_range` gives all; `cut_after`
    and `stall` count the bytes of the body; `drip` sends so many at a time, every `pause_s`.
    """

    path: str
    method: str = "GET"
    times: int = 1
    skip: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: bytes | None = None
    take: int | None = None
    change: Callable[[bytes], bytes] | None = None
    corrupt: bool = False
    ignore_range: bool = False
    cut_after: int | None = None
    stall: threading.Event | None = None
    drip: int = 0
    pause_s: float = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class FakeRegistry:
    """The server and its content; a context manager."""

    def __init__(
        self,
        *,
        users: dict[str, str] | None = None,
        tokens: bool = False,
        tls: ssl.SSLContext | None = None,
        anonymous_pull: bool = False,
    ) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.repository_blobs: dict[str, set[str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.served: Counter[str] = Counter()
        self.received = 0
        self.gates: dict[str, tuple[int, threading.Event]] = {}
        self.ranges = self.chunks = self.allow_mount = True
        self.chunk_min = 0
        self.at_once = self.most_at_once = 0
        self.users, self.tokens, self.anonymous_pull = users or {}, tokens, anonymous_pull
        self.token_life_s = 300
        self.lock = threading.Lock()

        class Handler(RegistryHandler):
            owner = self

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "https" if tls else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def host(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeRegistry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for event in (*(f.stall for f in self.faults), *(event for _, event in self.gates.values())):
            if event is not None:
                event.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def add_blob(self, repository: str, data: bytes) -> str:
        """Store a blob; its digest."""
        digest = digest_of(data)
        self.blobs[digest] = data
        self.repository_blobs.setdefault(repository, set()).add(digest)
        return digest

    def add_manifest(self, repository: str, tag: str, raw: bytes, media_type: str = MANIFEST) -> str:
        """Store a manifest under a tag and its digest."""
        digest = digest_of(raw)
        for key in (tag, digest):
            if key:
                self.manifests[(repository, key)] = (media_type, raw)
        return digest

    def add_image(
        self,
        repository: str,
        tag: str = "latest",
        *,
        files: Iterable[dict[str, bytes]] = ({"hello": b"hi\n"},),
        config: dict[str, Any] | None = None,
        architecture: str = "amd64",
    ) -> MadeImage:
        """Store an image with a gzip layer for each of `files`."""
        made = make_image(files, config=config, architecture=architecture)
        for data in (*made.layers, made.config):
            self.add_blob(repository, data)
        self.add_manifest(repository, tag, made.manifest)
        return made

    def gate(self, digest: str, offset: int) -> threading.Event:
        """Hold back a blob's bytes from `offset` on until the event is set."""
        event = threading.Event()
        self.gates[digest] = (offset, event)
        return event

    def count(self, method: str, part: str) -> int:
        """How many requests of `method` had `part` in their path."""
        return sum(1 for m, path, _ in self.requests if m == method and part in path)

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets; used up."""
        for fault in self.faults:
            if fault.path in path and fault.method == method:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None
