"""A Docker engine that only records requests and gives canned answers: a threaded HTTP server on a unix socket.

It lets two clients, Corten's and Docker's, be compared by what they ask and by what they print for the same answers.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

ID = "0123456789ab" * 5 + "cdef"
Answer = tuple[int, Any]


@dataclass
class Asked:
    """One request as it came, its path without the version."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body decoded."""
        return json.loads(self.body) if self.body else None

    def line(self) -> str:
        """`METHOD path?query`, the query sorted."""
        query = "&".join(f"{key}={value}" for key, value in sorted(self.query))
        return f"{self.method} {self.path}" + (f"?{query}" if query else "")


@dataclass
class FakeEngine:
    """Serves until closed. `answers` maps "METHOD path" to (status, JSON value or bytes) or to a function of the request."""

    path: Path
    answers: dict[str, Answer | Callable[[Asked], Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    attach_output: bytes = b""
    attach_input: bytes = b""
    exit_status: int = 0
    stat: Callable[[str], str] = str  # the archive endpoints' header for a path
    hold: bool = False  # containers run until release()

    def __post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self.path))
        self._socket.listen(16)
        self._started = threading.Event()
        self._guard = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> str:
        """For -H."""
        return f"unix://{self.path}"

    def release(self) -> None:
        """Let held containers end."""
        self._started.set()

    def requests(self, *, ping: bool = False) -> list[Asked]:
        """What was asked, without the pings by which Docker's client negotiates."""
        return [one for one in self.asked if ping or one.path != "/_ping"]

    def close(self) -> None:
        """Stop serving."""
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            while True:
                try:
                    asked = _read_request(reader)
                    if asked is None:
                        return
                    with self._guard:
                        self.asked.append(asked)
                    if not self._answer(connection, reader, asked):
                        return
                except OSError:
                    return

    def _answer(self, connection: socket.socket, reader: Any, asked: Asked) -> bool:
        key = f"{asked.method} {asked.path}"
        if key not in self.answers and asked.path.endswith("/attach"):
            self._attach(connection, reader)
            return False
        if key not in self.answers and asked.path.endswith("/wait"):
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            self._started.wait(20)
            body = json.dumps({"StatusCode": self.exit_status}).encode() + b"\n"
            connection.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
            return True
        answer = self.answers.get(key) or _default_answer(asked)
        status, value = answer(asked) if callable(answer) else answer
        if asked.path.endswith("/start") and not self.hold:
            self._started.set()
        body = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode() + b"\n"
        head = f"HTTP/1.1 {status} X\r\nApi-Version: 1.50\r\nOstype: linux\r\nServer: Docker/28.2.2 (linux)\r\n"
        if asked.path.endswith("/archive") and asked.method != "PUT" and status == 200:
            head += f"X-Docker-Container-Path-Stat: {self.stat(dict(asked.query)['path'])}\r\n"
        if status not in (204, 304):
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"\r\n" + (b"" if asked.method == "HEAD" else body))
        return True

    def _attach(self, connection: socket.socket, reader: Any) -> None:
        connection.sendall(
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        self._started.wait(20)
        connection.sendall(self.attach_output)
        connection.shutdown(socket.SHUT_WR)
        self.attach_input += reader.read()


def _default_answer(asked: Asked) -> Answer:
    if asked.path == "/_ping":
        return 200, b"OK"
    if asked.path == "/containers/create":
        return 201, {"Id": ID, "Warnings": []}
    if asked.method == "POST":
        return 204, None
    return 404, {"message": "page not found"}


def _read_request(reader: Any) -> Asked | None:
    line = reader.readline().decode()
    if not line.strip():
        return None
    method, target, _ = line.split(" ", 2)
    headers = {}
    while (text := reader.readline().decode().strip()) != "":
        name, _, value = text.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while (size := int(reader.readline(), 16)) > 0:
            body += reader.read(size)
            reader.readline()
        reader.readline()
    else:
        body = reader.read(int(headers.get("content-length", 0)))
    parts = urlsplit(target)
    path = parts.path
    if path.startswith("/v1."):
        path = "/" + path.split("/", 2)[2]
    return Asked(method, unquote(path), parse_qsl(parts.query, keep_blank_values=True), headers, body)
