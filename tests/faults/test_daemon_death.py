"""kill -9 of daemon, zygote and shims: containers go on, logs lose nothing, exit codes are found, nothing half-made stays."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, docker_cli, leftovers_of, running_daemon


@pytest.fixture
def engine() -> Iterator[Daemon]:
    """A daemon of the test's own, killed at will."""
    with running_daemon() as one:
        one.docker("load", "-i", str(images.busybox()))
        yield one


def until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_running_container_survives_and_its_log_and_exit_code_too(engine: Daemon) -> None:
    script = "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 23"
    container = engine.out("run", "-d", "busybox", "sh", "-c", script)
    pid = engine.inspect(container)["State"]["Pid"]
    engine.kill()
    assert os.path.exists(f"/proc/{pid}")
    engine.start()
    assert engine.out("wait", container) == "23"
    assert engine.out("logs", container).split() == [str(number) for number in range(300)]


def test_a_container_that_ends_while_no_daemon_runs(engine: Daemon) -> None:
    container = engine.out("run", "-d", "busybox", "sh", "-c", "sleep 0.5; echo done; exit 31")
    removed = engine.out("run", "-d", "--rm", "busybox", "sleep", "0.5")
    pid = engine.inspect(container)["State"]["Pid"]
    engine.kill()
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    engine.start()
    state = engine.inspect(container)["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 31)
    assert engine.out("logs", container) == "done"
    until(lambda: engine.docker("inspect", removed, check=False).returncode != 0)


def test_an_attached_client_outlives_the_daemon(engine: Daemon) -> None:
    client = subprocess.Popen(
        [docker_cli(), "-H", engine.host, "run", "--name", "echo", "-i", "busybox", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=engine.environment,
        text=True,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write("one\n")
    client.stdin.flush()
    assert client.stdout.readline() == "one\n"
    # The line may be here before the answer to `start` is, and without that the client gives up.
    until(lambda: engine.docker("exec", "echo", "true", check=False).returncode == 0)
    engine.kill()
    client.stdin.write("two\n")
    client.stdin.flush()
    assert client.stdout.readline() == "two\n"
    client.kill()
    client.wait()
    engine.start()


def test_exec_and_stop_work_after_a_restart(engine: Daemon) -> None:
    container = engine.out("run", "-d", "--init", "-p", "127.0.0.1::80", "busybox", "httpd", "-f", "-p", "80")
    address = engine.inspect(container)["NetworkSettings"]["IPAddress"]
    engine.kill()
    engine.start()
    assert engine.inspect(container)["NetworkSettings"]["IPAddress"] == address
    assert engine.out("exec", container, "echo", "in") == "in"
    assert engine.out("run", "--rm", "busybox", "sh", "-c", f"wget -qO- http://{address}/ 2>&1 | grep -o 404") == "404"
    engine.docker("stop", container)
    assert engine.inspect(container)["State"]["Status"] == "exited"


def test_kill_of_the_zygote_is_survived(engine: Daemon) -> None:
    container = engine.out("run", "-d", "busybox", "sleep", "1000")
    for pid in children_of(engine.pid):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "corten-zygote":
            os.kill(pid, 9)
    assert engine.out("run", "--rm", "busybox", "echo", "new") == "new"
    assert engine.out("exec", container, "echo", "old") == "old"


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment_of_a_start_nothing_half_made_is_left(engine: Daemon, seed: int) -> None:
    rng = random.Random(seed)
    clients = [
        subprocess.Popen(
            [
                docker_cli(),
                "-H",
                engine.host,
                "run",
                "-d",
                "-p",
                "127.0.0.1::80",
                "-v",
                f"v{number}:/v",
                "busybox",
                "sleep",
                "1000",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=engine.environment,
        )
        for number in range(4)
    ]
    time.sleep(rng.uniform(0.01, 0.3))
    engine.kill()
    for client in clients:
        client.wait()
    engine.start()
    ids = engine.out("ps", "-aq", "--no-trunc").split()
    if ids:
        engine.docker("rm", "-f", "-v", *ids)
    assert engine.out("run", "--rm", "busybox", "echo", "fine") == "fine"
    engine.stop()
    assert leftovers_of(engine) == []
    containers = engine.data_root / "containers"
    assert not containers.exists() or list(containers.iterdir()) == []


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_kill_of_a_shim_is_said_and_survived(engine: Daemon) -> None:
    container = engine.out("run", "-d", "busybox", "sleep", "1000")
    pid = engine.inspect(container)["State"]["Pid"]
    shim = int((engine.exec_root / "shim" / container / "pid").read_text().split()[0])
    os.kill(shim, 9)
    until(lambda: engine.inspect(container)["State"]["Status"] == "exited")
    assert engine.inspect(container)["State"]["ExitCode"] != 0
    until(lambda: ended(pid))
    assert "shim" in engine.log_text()
    engine.docker("start", container)
    assert engine.out("exec", container, "echo", "again") == "again"


def ended(pid: int) -> bool:
    """Gone, or a zombie that waits for process 1 of this machine to reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
