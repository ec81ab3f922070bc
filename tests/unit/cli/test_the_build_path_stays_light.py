"""What `corten build` imports is paid for at each build, also at those that the cache has: what costs milliseconds stays
out until something needs it."""

from __future__ import annotations

import datetime as dt
import json
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.recording import CORTEN
from tests.unit.cli.test_the_run_path_stays_light import HEAVY

from corten.build.local.frames import frame
from corten.cli.build.progress.figures import NANO, nanoseconds

TIME = "2024-05-06T07:08:09.5Z"
VERTEX = {"digest": "sha256:1", "name": "[1/1] COPY", "started": TIME, "completed": TIME, "cached": True}
ANSWERS: list[object] = [
    {"begun": True},
    {"progress": {"aux": {"Status": {"vertexes": [VERTEX]}}}},
    {"progress": {"aux": {"ID": "sha256:" + "0" * 64}}},
    {"end": True},
]


def _answer(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        assert head.startswith(b"POST /corten/build "), head
        upgraded = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: corten-build\r\n\r\n"
        connection.sendall(upgraded + b"".join(frame(json.dumps(message).encode()) for message in ANSWERS))
        while connection.recv(1 << 16):
            pass


@pytest.mark.parametrize(
    ("options", "most"),
    [
        (["--progress", "plain"], 48),
        (
            ["--progress", "plain", "-t", "a:1", "--build-arg", "A=b", "--label", "x=y", "--output", "type=image"],
            50,
        ),
        (["--quiet"], 34),
    ],
)
def test_a_build_that_the_cache_has_imports_nothing_heavy(tmp_path: Path, options: list[str], most: int) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        engine = threading.Thread(target=_answer, args=(listener,), daemon=True)
        engine.start()
        argv = [CORTEN[0], "-X", "importtime", *CORTEN[1:], "build", *options, str(tmp_path)]
        environment = {"HOME": str(tmp_path), "CORTEN_HOST": f"unix://{tmp_path}/s"}
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False, timeout=60)
        engine.join(20)
    assert done.returncode == 0, done.stderr
    assert "CACHED" in done.stderr or options == ["--quiet"]
    found = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "corten.client.local_build" in found
    assert found & {*HEAVY, "tarfile", "unicodedata", "struct", "math", "types"} == set()
    assert len([name for name in found if name.startswith("corten")]) <= most


@given(st.integers(-2_000_000_000, 9_000_000_000), st.integers(0, NANO - 1))
def test_times_are_those_of_datetime(seconds: int, fraction: int) -> None:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    text = f"{moment:%Y-%m-%dT%H:%M:%S}"
    for suffix in ("Z", "+00:00"):
        assert nanoseconds(f"{text}{suffix}") == seconds * NANO
        assert nanoseconds(f"{text}.{fraction:09}{suffix}") == seconds * NANO + fraction
    for text in (f"{moment:%Y-%m-%d}", "2024-05-06T07:08Z"):
        assert nanoseconds(text) is not None
