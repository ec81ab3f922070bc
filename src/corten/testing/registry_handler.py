"""The requests that the tests' registry answers, and how it fails at them. Test kit; a thread for each connection."""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
import time
from http.server import BaseHTTPRequestHandler
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from corten.testing.made_images import MANIFEST, digest_of

if TYPE_CHECKING:
    from corten.testing.registry import FakeRegistry, Fault

_KEYS = count()


class RegistryHandler(BaseHTTPRequestHandler):
    """One connection."""

    owner: FakeRegistry
    fault: Fault | None = None
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait for the client's delayed ACK

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class' name
        """Say nothing."""

    def _serve(self) -> None:
        owner = self.owner
        with owner.lock:
            owner.requests.append((self.command, self.path, dict(self.headers.items())))
            fault = self.fault = owner.take_fault(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length if fault is None or fault.take is None else min(fault.take, length))
        parts = urlsplit(self.path)
        if fault is not None and fault.take is not None:
            if self.command == "PATCH":
                self._append(parts.path, body)
            self._reset()
        elif fault is not None and fault.raw is not None:
            if fault.stall is not None:
                fault.stall.wait(60)
            for start in range(0, len(fault.raw), fault.drip or 4096):
                self.wfile.write(fault.raw[start : start + (fault.drip or 4096)])
                time.sleep(fault.pause_s)
            self._reset()
        elif fault is not None and fault.status:
            self._reply(fault.status, fault.body)
        elif parts.path == "/token":
            self._token(parse_qs(parts.query), body)
        elif self._authorized(parts.path):
            self._route(parts.path, parse_qs(parts.query), body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base class' names

    def _reset(self) -> None:
        """End the connection so that the peer is told by RST, not by an orderly end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

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
        names = "|".join(s.split(":")[1] for s in " ".join(query.get("scope", [])).split() if s.count(":") == 2)
        answer = {"token": f"{names or 'none'}", "expires_in": owner.token_life_s}
        if "offline_token" in query:
            answer["refresh_token"] = "identity"  # noqa: S105 - a word for the test
        self._reply(200, json.dumps(answer).encode())

    def _route(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        if path == "/v2/":
            self._reply(200, b"{}")
            return
        if path == "/v2/_catalog":
            names = sorted(self.owner.repository_blobs)
            self._reply(200, json.dumps({"repositories": names}).encode())
            return
        match = re.match(r"/v2/(.+)/(manifests|blobs)/(.+)\Z", path)
        if match is None:
            match = re.match(r"/v2/(.+)/(blobs)/(uploads/)\Z", path)
        if match is None:
            self._reply(404, b"")
            return
        repository, kind, name = match.groups()
        if kind == "manifests":
            self._manifest(repository, name, body)
        elif name.startswith("uploads/"):
            self._upload(repository, name.removeprefix("uploads/"), query, body)
        else:
            self._blob(repository, name)

    def _manifest(self, repository: str, name: str, body: bytes) -> None:
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
        if self.fault is not None and self.fault.corrupt:
            raw = raw.replace(b"sha256:", b"sha256:", 1) + b" "
        self._reply(200, raw, headers)

    def _append(self, path: str, body: bytes) -> None:
        key = path.rpartition("/")[2]
        with self.owner.lock:
            self.owner.received += len(body)
            if key in self.owner.uploads:
                self.owner.uploads[key] += body

    def _upload(self, repository: str, key: str, query: dict[str, list[str]], body: bytes) -> None:
        owner = self.owner
        if self.command == "POST":
            self._begin_upload(repository, query)
            return
        there = owner.uploads.get(key)
        if there is None:
            self._reply(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"blob upload unknown to registry"}]}')
            return
        headers = {"Location": f"/v2/{repository}/blobs/uploads/{key}?state=x"}
        if self.command == "GET":
            self._reply(204, b"", headers | {"Range": f"0-{max(len(there) - 1, 0)}"})
        elif self.command == "PATCH":
            begins = self.headers.get("Content-Range", "0-").partition("-")[0]
            if not owner.chunks:
                self._reply(405, b'{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}')
            elif int(begins) != len(there):
                self._reply(416, b"", headers | {"Range": f"0-{max(len(there) - 1, 0)}"})
            else:
                self._append(key, body)
                self._reply(202, b"", headers | {"Range": f"0-{len(there) - 1}"})
        elif self.command == "PUT":
            digest = query.get("digest", [""])[0]
            with owner.lock:
                owner.received += len(body)
            if digest_of(bytes(there) + body) != digest:
                self._reply(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest invalid"}]}')
                return
            owner.add_blob(repository, bytes(owner.uploads.pop(key)) + body)
            self._reply(201, b"", {"Docker-Content-Digest": digest})
        else:
            owner.uploads.pop(key)
            self._reply(204, b"")

    def _begin_upload(self, repository: str, query: dict[str, list[str]]) -> None:
        owner = self.owner
        mount, source = query.get("mount", [""])[0], query.get("from", [""])[0]
        if mount and owner.allow_mount and mount in owner.repository_blobs.get(source, ()):
            owner.repository_blobs.setdefault(repository, set()).add(mount)
            self._reply(201, b"", {"Docker-Content-Digest": mount})
            return
        key = f"u{next(_KEYS)}"
        owner.uploads[key] = bytearray()
        headers = {"Location": f"/v2/{repository}/blobs/uploads/{key}?state=x"}
        if owner.chunk_min:
            headers["OCI-Chunk-Min-Length"] = str(owner.chunk_min)
        self._reply(202, b"", headers)

    def _blob(self, repository: str, digest: str) -> None:
        owner = self.owner
        data = owner.blobs.get(digest)
        if data is None or digest not in owner.repository_blobs.get(repository, ()):
            self._reply(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}')
            return
        fault = self.fault
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
        self._reply(status, data, headers, digest=digest, start=start)

    def _reply(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        digest: str = "",
        start: int = 0,
    ) -> None:
        fault = self.fault
        if fault is not None and fault.change is not None:
            body = fault.change(body)
        told = {"Content-Length": str(len(body))} if status != 204 else {}
        told |= {**(headers or {}), **(fault.headers if fault else {})}
        self.send_response(status)
        for key, value in told.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        broken = fault is not None and (fault.cut_after is not None or fault.stall is not None)
        with self.owner.lock:
            self.owner.at_once += 1
            self.owner.most_at_once = max(self.owner.most_at_once, self.owner.at_once)
        try:
            self._send_body(body[: (fault.cut_after or 0) if fault and broken else len(body)], digest, start)
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

    def _send_body(self, body: bytes, digest: str, start: int) -> None:
        owner, fault = self.owner, self.fault
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
            if fault is not None and fault.pause_s:
                time.sleep(fault.pause_s)
            with owner.lock:
                owner.served[digest] += len(body[position:upto])
            position = upto
