"""A registry in the test's own process, with faults on order: cuts, wrong bytes, stalls, refusals, tokens. Test kit.

It speaks enough of the OCI distribution-spec to pull and push, holds all in memory, and serves loopback only.

    with FakeRegistry() as registry:
        registry.add_image("library/demo", "latest", layers=[...])
        registry.faults.append(Fault(path="/blobs/", status=503))
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import ssl
import tarfile
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with the next `times` requests whose path holds `path`; used up in order.

    `cut_after` and `stall` count the bytes of the answer's body; `drip` sends so many bytes at a time.
    """

    path: str
    method: str = "GET"
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    corrupt: bool = False
    stall: threading.Event | None = None
    ignore_range: bool = False
    drip: int = 0


def digest_of(data: bytes) -> str:
    """The sha256 digest of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar with these files, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass
class MadeImage:
    """What `add_image` stored."""

    manifest: bytes
    digest: str
    config: bytes
    layers: list[bytes]
    diff_ids: list[str]

    @property
    def image_id(self) -> str:
        """The digest of the configuration."""
        return digest_of(self.config)


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
        self.uploads: dict[str, str] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.served: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.gates: dict[str, tuple[int, threading.Event]] = {}
        self.ranges = True
        self.at_once = self.most_at_once = 0
        self.users, self.tokens, self.anonymous_pull = users or {}, tokens, anonymous_pull
        self.token_life_s = 300
        self.allow_mount = True
        self.lock = threading.Lock()
        registry = self

        class Handler(_Handler):
            owner = registry

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
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
        tars = [tar_of(f) for f in files]
        layers = [gzip.compress(tar, mtime=0) for tar in tars]
        diff_ids = [digest_of(tar) for tar in tars]
        document = {
            "architecture": architecture,
            "os": "linux",
            "config": config or {"Cmd": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
        }
        raw_config = json.dumps(document).encode()
        for data in (*layers, raw_config):
            self.add_blob(repository, data)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest_of(raw_config), "size": len(raw_config)},
            "layers": [{"mediaType": LAYER_GZIP, "digest": digest_of(data), "size": len(data)} for data in layers],
        }
        raw = json.dumps(manifest).encode()
        digest = self.add_manifest(repository, tag, raw)
        return MadeImage(raw, digest, raw_config, layers, diff_ids)

    def gate(self, digest: str, offset: int) -> threading.Event:
        """Hold back a blob's bytes from `offset` on until the event is set."""
        event = threading.Event()
        self.gates[digest] = (offset, event)
        return event

    def count(self, method: str, part: str) -> int:
        """How many requests of `method` had `part` in their path."""
        return sum(1 for m, path, _ in self.requests if m == method and part in path)


class _Handler(BaseHTTPRequestHandler):
    owner: FakeRegistry
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
        """Say nothing."""

    def _serve(self) -> None:
        owner = self.owner
        with owner.lock:
            owner.requests.append((self.command, self.path, dict(self.headers.items())))
            fault = next((f for f in owner.faults if f.path in self.path and f.method == self.command), None)
            if fault is not None:
                fault.times -= 1
                if fault.times <= 0:
                    owner.faults.remove(fault)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault is not None and fault.status:
            self._reply(fault.status, fault.body, fault.headers)
            return
        parts = urlsplit(self.path)
        if parts.path == "/token":
            self._token(parse_qs(parts.query), body)
        elif self._authorized(parts.path):
            self._route(parts.path, parse_qs(parts.query), body, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base class' names

    def _authorized(self, path: str) -> bool:
        owner = self.owner
        if not owner.users and not owner.tokens:
            return True
        given = self.headers.get("Authorization", "")
        if owner.tokens:
            match = re.match(r"/v2/(.+)/(?:manifests|blobs)/", path)
            wanted = match.group(1) if match else ""
            if given.startswith("Bearer ") and (f" {wanted} " in f" {given[7:].replace('|', ' ')} " or not wanted):
                return True
            challenge = f'Bearer realm="{owner.scheme}://{owner.host}/token",service="fake"'
            if wanted:
                challenge += f',scope="repository:{wanted}:pull"'
        else:
            if given.startswith("Basic "):
                user, _, password = base64.b64decode(given[6:]).decode().partition(":")
                if owner.users.get(user) == password:
                    return True
            challenge = 'Basic realm="fake"'
        error = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        self._reply(401, error, {"WWW-Authenticate": challenge})
        return False

    def _token(self, query: dict[str, list[str]], body: bytes) -> None:
        owner = self.owner
        given = self.headers.get("Authorization", "")
        if self.command == "POST":
            query = parse_qs(body.decode())
            ok = query.get("refresh_token") == ["identity"]
        elif given.startswith("Basic "):
            user, _, password = base64.b64decode(given[6:]).decode().partition(":")
            ok = owner.users.get(user) == password
        else:
            ok = owner.anonymous_pull or not owner.users
        if not ok:
            self._reply(401, b'{"details":"incorrect username or password"}')
            return
        names = "|".join(s.split(":")[1] for s in query.get("scope", []) if s.count(":") == 2)
        answer = {"token": f"{names or 'none'}", "expires_in": owner.token_life_s}
        if "offline_token" in query:
            answer["refresh_token"] = "identity"  # noqa: S105 - a word for the test
        self._reply(200, json.dumps(answer).encode())

    def _route(self, path: str, query: dict[str, list[str]], body: bytes, fault: Fault | None) -> None:
        if path == "/v2/":
            self._reply(200, b"{}")
            return
        match = re.match(r"/v2/(.+)/(manifests|blobs)/(.+)\Z", path)
        if match is None:
            match = re.match(r"/v2/(.+)/(blobs)/(uploads/)\Z", path)
        if match is None:
            self._reply(404, b"")
            return
        repository, kind, name = match.groups()
        if kind == "manifests":
            self._manifest(repository, name, body, fault)
        elif name.startswith("uploads/"):
            self._upload(repository, name, query, body)
        else:
            self._blob(repository, name, fault)

    def _manifest(self, repository: str, name: str, body: bytes, fault: Fault | None) -> None:
        owner = self.owner
        if self.command == "PUT":
            digest = owner.add_manifest(repository, name, body, self.headers.get("Content-Type", MANIFEST))
            self._reply(201, b"", {"Docker-Content-Digest": digest})
            return
        entry = owner.manifests.get((repository, name))
        if entry is None:
            self._reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
            return
        media_type, raw = entry
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(raw)}
        if fault is not None and fault.corrupt:
            raw = raw.replace(b"sha256:", b"sha256:", 1) + b" "
        self._reply(200, raw, headers, fault)

    def _upload(self, repository: str, name: str, query: dict[str, list[str]], body: bytes) -> None:
        owner = self.owner
        if self.command == "POST":
            mount, source = query.get("mount", [""])[0], query.get("from", [""])[0]
            if mount and owner.allow_mount and mount in owner.repository_blobs.get(source, ()):
                owner.repository_blobs.setdefault(repository, set()).add(mount)
                self._reply(201, b"", {"Docker-Content-Digest": mount})
                return
            key = f"u{len(owner.uploads)}"
            owner.uploads[key] = repository
            self._reply(202, b"", {"Location": f"/v2/{repository}/blobs/uploads/{key}?state=x"})
        elif self.command == "PUT":
            digest = query.get("digest", [""])[0]
            if digest_of(body) != digest:
                self._reply(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest invalid"}]}')
                return
            owner.add_blob(repository, body)
            self._reply(201, b"", {"Docker-Content-Digest": digest})
        else:
            owner.uploads.pop(name.removeprefix("uploads/"), None)
            self._reply(204, b"")

    def _blob(self, repository: str, digest: str, fault: Fault | None) -> None:
        owner = self.owner
        data = owner.blobs.get(digest)
        if data is None or digest not in owner.repository_blobs.get(repository, ()):
            self._reply(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}')
            return
        if fault is not None and fault.corrupt:
            data = bytes([data[0] ^ 1]) + data[1:]
        match = re.match(r"bytes=(\d+)-(\d*)\Z", self.headers.get("Range", ""))
        status, headers = 200, {"Content-Type": "application/octet-stream"}
        start = 0
        if match is not None and owner.ranges and not (fault is not None and fault.ignore_range):
            start, end = int(match.group(1)), min(int(match.group(2) or len(data)) + 1, len(data))
            if start >= len(data):
                self._reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            status, data = 206, data[start:end]
        self._reply(status, data, headers, fault, digest=digest, start=start)

    def _reply(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        fault: Fault | None = None,
        *,
        digest: str = "",
        start: int = 0,
    ) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), **(fault.headers if fault else {})}.items():
            self.send_header(key, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        broken = fault is not None and (fault.cut_after is not None or fault.stall is not None)
        with self.owner.lock:
            self.owner.at_once += 1
            self.owner.most_at_once = max(self.owner.most_at_once, self.owner.at_once)
        try:
            self._send_body(body[: (fault.cut_after or 0) if fault and broken else len(body)], fault, digest, start)
        except OSError:  # the client has gone
            self.close_connection = True
        finally:
            with self.owner.lock:
                self.owner.at_once -= 1
        if fault is not None and broken:
            if fault.stall is not None:
                fault.stall.wait(60)
            self.close_connection = True
            self.connection.close()

    def _send_body(self, body: bytes, fault: Fault | None, digest: str, start: int) -> None:
        owner = self.owner
        step = fault.drip if fault is not None and fault.drip else 64 << 10
        gate, event = owner.gates.get(digest, (0, None))
        position = 0
        while position < len(body):
            if event is not None and start + position >= gate:
                event.wait(60)
            upto = position + step
            if event is not None and start + position < gate:
                upto = min(upto, gate - start)
            self.wfile.write(body[position:upto])
            self.wfile.flush()
            with owner.lock:
                owner.served[digest] += len(body[position:upto])
            position = upto
