"""Builds over the classic API, as its clients send them: a tar, a query, and a stream of messages."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import tarfile
from pathlib import Path
from urllib.parse import urlencode

from tests.lab.daemon import Daemon

NOTHING = [{"Type": "cacheonly"}]


class BuildFailed(AssertionError):
    """The stream's last message is an error."""


def build(engine: Daemon, context: Path, **query: object) -> str:
    """What the classic API says of a build. Raises BuildFailed."""
    connection = begin(engine, context, **query)
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, text
    messages = [json.loads(line) for line in text.splitlines()]
    errors = [message["error"] for message in messages if "error" in message]
    said = "".join(message.get("stream") or f"{message.get('status', '')}\n" for message in messages)
    if errors:
        raise BuildFailed(f"{errors}\n{said}\n{engine.log_text()}")
    return said


def begin(engine: Daemon, context: Path, **query: object) -> http.client.HTTPConnection:
    """A connection with a build's request, whose answer is the caller's to read."""
    connection = _Socket(str(engine.socket))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(context, ".")
    asked = {"networkmode": "none", "version": "1", **query}
    encoded = {key: value if isinstance(value, str) else json.dumps(value) for key, value in asked.items()}
    connection.request("POST", f"/build?{urlencode(encoded)}", packed.getvalue(), {"Content-Type": "application/x-tar"})
    return connection


class _Socket(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(self._path)


def to(kind: str, **attributes: str) -> list[dict[str, object]]:
    """One cache, as BuildKit's clients name it."""
    return [{"Type": kind, "Attrs": attributes}]


def cached_steps(output: str) -> int:
    """How many steps the cache had."""
    return output.count(" ---> Using cache")


def built_id(output: str) -> str:
    """The beginning of the result's id."""
    return re.findall(r"Successfully built (\w+)", output)[-1]
