"""`run` against an engine that records: order of requests, streams both ways, pull on demand, exit status, ID file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.fake_engine import ID, Asked, FakeEngine
from tests.unit.cli.recording import CORTEN, client


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    fake = FakeEngine(tmp_path / "s")
    yield fake
    fake.close()


def _frame(stream: int, text: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


def test_output_goes_where_it_belongs_and_the_status_is_the_containers(engine: FakeEngine, tmp_path: Path) -> None:
    engine.attach_output = _frame(1, b"out") + _frame(2, b"err") + _frame(1, b"put\n")
    engine.exit_status = 42
    done = client(CORTEN, engine, ["run", "--rm", "busybox", "x"], tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("output\n", "err", 42)
    asked = [one.line() for one in engine.asked]
    assert asked[0] == "POST /containers/create"
    assert set(asked[1:3]) == {
        f"POST /containers/{ID}/attach?stderr=1&stdout=1&stream=1",
        f"POST /containers/{ID}/wait?condition=removed",
    }
    assert asked[3:] == [f"POST /containers/{ID}/start"]


def test_input_arrives_whole_and_ends(engine: FakeEngine, tmp_path: Path) -> None:
    text = "x" * 3_000_000
    engine.attach_output = _frame(1, b"o" * 200_000)
    done = client(CORTEN, engine, ["run", "-i", "busybox", "cat"], tmp_path, input=text)
    assert done.stdout == "o" * 200_000
    assert ("stdin", "1") in next(one.query for one in engine.asked if one.path.endswith("/attach"))


def test_a_missing_image_is_pulled_and_the_create_repeated(engine: FakeEngine, tmp_path: Path) -> None:
    tries: list[Asked] = []

    def create(asked: Asked) -> tuple[int, object]:
        tries.append(asked)
        return (
            (404, {"message": "No such image: busybox:latest"})
            if len(tries) == 1
            else (201, {"Id": ID, "Warnings": ["careful"]})
        )

    engine.answers["POST /containers/create"] = create
    engine.answers["POST /images/create"] = (200, b'{"status":"Status: Downloaded newer image for busybox:latest"}\r\n')
    done = client(CORTEN, engine, ["run", "-d", "busybox"], tmp_path)
    assert done.stdout == f"{ID}\n"
    assert done.stderr == (
        "Unable to find image 'busybox:latest' locally\nStatus: Downloaded newer image for busybox:latest\nWARNING: careful\n"
    )
    assert len(tries) == 2
    assert next(one for one in engine.asked if one.path == "/images/create").headers["x-registry-auth"] == "e30="


def test_pull_never_does_not_pull(engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers["POST /containers/create"] = (404, {"message": "No such image: busybox:latest"})
    done = client(CORTEN, engine, ["run", "--pull", "never", "busybox"], tmp_path)
    assert done.returncode == 125
    assert done.stderr.startswith(
        "corten: Error response from daemon: No such image: busybox:latest\n\nRun 'corten run --help'"
    )
    assert [one.path for one in engine.asked] == ["/containers/create"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('exec: "x": executable file not found in $PATH', 127), ("stat /x: no such file or directory", 127),
        ('exec: "/etc": permission denied', 126), ('exec: "/etc": is a directory', 126), ("port is already allocated", 125),
    ],
)  # fmt: skip
def test_the_status_tells_why_a_start_failed(engine: FakeEngine, tmp_path: Path, text: str, status: int) -> None:
    engine.answers[f"POST /containers/{ID}/start"] = (400, {"message": text})
    done = client(CORTEN, engine, ["run", "busybox", "x"], tmp_path)
    assert done.returncode == status
    assert (
        done.stderr == f"corten: Error response from daemon: {text}\n\nRun 'corten run --help' for more information\n"
    )


def test_the_id_file_is_written_once_and_never_left_empty(engine: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "id"
    client(CORTEN, engine, ["create", "--cidfile", str(path), "busybox"], tmp_path)
    assert path.read_text() == ID
    again = client(CORTEN, engine, ["run", "--cidfile", str(path), "busybox"], tmp_path)
    assert again.returncode == 125
    assert "container ID file found" in again.stderr
    engine.answers["POST /containers/create"] = (500, {"message": "no"})
    client(CORTEN, engine, ["create", "--cidfile", str(tmp_path / "other"), "busybox"], tmp_path)
    assert not (tmp_path / "other").exists()


def test_signals_are_passed_on_to_the_container(engine: FakeEngine, tmp_path: Path) -> None:
    killed: list[str] = []

    def kill(asked: Asked) -> tuple[int, object]:
        killed.append(dict(asked.query)["signal"])
        return 204, None

    engine.answers[f"POST /containers/{ID}/kill"] = kill
    engine.hold = True
    process = subprocess.Popen(
        [*CORTEN, "-H", engine.host, "run", "busybox", "x"],
        env={"HOME": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509 - the tests may run under nohup
    )
    deadline = time.monotonic() + 20
    while not any(one.path.endswith("/start") for one in engine.asked) and time.monotonic() < deadline:
        time.sleep(0.01)
    for number, name in ((signal.SIGHUP, "HUP"), (signal.SIGUSR1, "USR1"), (signal.SIGTERM, "TERM")):
        os.kill(process.pid, number)
        while name not in killed and time.monotonic() < deadline:
            time.sleep(0.01)
    engine.release()
    assert process.wait(20) == 0
    assert killed == ["HUP", "USR1", "TERM"]


def test_proxies_of_the_configuration_reach_the_container(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    config = {"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "x"}}}
    (tmp_path / ".docker/config.json").write_text(json.dumps(config))
    client(CORTEN, engine, ["create", "-e", "http_proxy=mine", "busybox"], tmp_path)
    assert engine.asked[0].json["Env"] == ["http_proxy=mine", "HTTP_PROXY=http://p:1", "NO_PROXY=x", "no_proxy=x"]


def test_attach_ends_when_the_container_ended_before_it_could_wait(engine: FakeEngine, tmp_path: Path) -> None:
    state = {"Id": ID, "State": {"Running": True}, "Config": {"Tty": False, "OpenStdin": False}}
    engine.answers["GET /containers/box/json"] = (200, state)
    engine.answers[f"POST /containers/{ID}/wait"] = (200, {"StatusCode": 3})  # head and body in one piece
    engine.release()
    assert client(CORTEN, engine, ["attach", "box"], tmp_path).returncode == 3
