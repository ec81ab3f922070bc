"""The OCI command line, as other engines call it: one process a verb."""

from __future__ import annotations

import array
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corten.linux.cgroup import open_cgroup
from corten.linux.process import pidfd_open

SOURCE = Path(__file__).resolve().parents[3] / "src"
PATIENCE_S = 60


class Oci:
    """`corten oci` with a root and a cgroup parent of its own."""

    def __init__(self, base: Path) -> None:
        self.root = base / "state"
        self.bundle = base
        self.parent = f"/corten-test-oci-{secrets.token_hex(4)}"

    def __call__(
        self, *args: str, check: bool = True, stdin: str = "", **more: Any
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*args), input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE_S, **more
        )
        assert not check or done.returncode == 0, done
        return done

    def argv(self, *args: str) -> list[str]:
        program = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from corten.runtime.oci.main import main; sys.exit(main(sys.argv[1:]))"
        return [sys.executable, "-I", "-c", program, "--root", str(self.root), *args]

    def configure(self, *args: str, **changes: Any) -> dict[str, Any]:
        """Write config.json for a command; keywords change `process`."""
        path = self.bundle / "config.json"
        if not path.exists():
            self("spec", "--bundle", str(self.bundle))
        spec: dict[str, Any] = json.loads(path.read_text())
        spec["process"].update(args=list(args), terminal=False, **changes)
        spec["linux"]["cgroupsPath"] = f"{self.parent}/c"
        path.write_text(json.dumps(spec))
        return spec

    def create(self, name: str, *flags: str) -> None:
        """create, with the container's output in files, as a shim would."""
        with (self.bundle / "out").open("wb") as out:
            argv = self.argv("create", "--bundle", str(self.bundle), *flags, name)
            subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=True, timeout=PATIENCE_S
            )

    def state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self("state", name).stdout)
        return state

    def wait_end(self, pid: int) -> None:
        try:
            pidfd = pidfd_open(pid)
        except ProcessLookupError:
            return
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(PATIENCE_S * 1000)
        os.close(pidfd)

    def output(self) -> str:
        return (self.bundle / "out").read_text()

    def wait_output(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.output():
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.005)


@pytest.fixture
def oci(busybox_root: Path) -> Iterator[Oci]:
    """The command line on a bundle of busybox; its containers and cgroups are gone afterwards."""
    command = Oci(busybox_root.parent)
    yield command
    for name in command("list", "-q").stdout.split():
        command("delete", "--force", name)
    parent = open_cgroup(command.parent)
    parent.kill()
    parent.remove()
    assert not command.root.exists() or list(command.root.iterdir()) == []


def test_a_life_from_create_to_delete(oci: Oci) -> None:
    oci.configure("sh", "-c", "echo started; trap 'exit 7' TERM; while :; do sleep 0.01; done")
    oci.create("one", "--pid-file", str(oci.bundle / "pid"))
    state = oci.state("one")
    assert (state["status"], state["id"], state["ociVersion"], state["bundle"]) == (
        "created",
        "one",
        "1.2.0",
        str(oci.bundle),
    )
    assert state["pid"] == int((oci.bundle / "pid").read_text())
    assert oci.output() == ""
    oci("start", "one")
    oci.wait_output("started")
    assert oci.state("one")["status"] == "running"
    assert "already running" in oci("start", "one", check=False).stderr
    assert "that is not stopped: running" in oci("delete", "one", check=False).stderr
    oci("kill", "one", "TERM")
    oci.wait_end(state["pid"])
    state = oci.state("one")
    assert (state["status"], state["pid"]) == ("stopped", 0)
    assert "not running" in oci("kill", "one", "TERM", check=False).stderr
    oci("delete", "one")
    assert "does not exist" in oci("state", "one", check=False).stderr


def test_run_waits_and_gives_the_commands_status(oci: Oci) -> None:
    oci.configure("sh", "-c", "cat; exit 3")
    done = oci("run", "--bundle", str(oci.bundle), "r", stdin="through\n", check=False)
    assert (done.returncode, done.stdout) == (3, "through\n")
    assert oci("list", "-q").stdout == ""


def test_exec_in_a_running_container(oci: Oci) -> None:
    oci.configure("sleep", "1000")
    oci.create("e")
    oci("start", "e")
    done = oci(
        "exec",
        "--cwd",
        "/tmp",
        "--env",
        "A=1",
        "--user",
        "5:6",
        "e",
        "sh",
        "-c",
        "pwd; echo $A; id -u; id -g; exit 9",
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (9, ["/tmp", "1", "5", "6"])
    process = {**oci.configure("x")["process"], "args": ["cat", "/proc/self/cgroup"]}
    (oci.bundle / "process.json").write_text(json.dumps(process))
    assert oci("exec", "--process", str(oci.bundle / "process.json"), "e").stdout.count(":/\n") >= 1
    done = oci("exec", "e", "nosuch", check=False)
    assert done.returncode == 255
    assert (
        'exec failed: unable to start container process: exec: "nosuch": executable file not found in $PATH'
        in done.stderr
    )
    detached = oci.argv("exec", "--detach", "--pid-file", str(oci.bundle / "xpid"), "e", "sleep", "1000")
    null = subprocess.DEVNULL
    subprocess.run(detached, stdin=null, stdout=null, stderr=null, check=True, timeout=PATIENCE_S)
    pids = json.loads(oci("ps", "--format", "json", "e").stdout)
    assert int((oci.bundle / "xpid").read_text()) in pids
    assert oci.state("e")["pid"] in pids
    assert oci("ps", "e").stdout.count("sleep 1000") == 2
    oci("kill", "--all", "e", "KILL")


def test_a_console_comes_over_the_console_socket(oci: Oci) -> None:
    oci.configure("sh", "-c", "tty; read x; echo got $x")
    spec = json.loads((oci.bundle / "config.json").read_text())
    spec["process"]["terminal"] = True
    (oci.bundle / "config.json").write_text(json.dumps(spec))
    assert "console socket" in oci("create", "--bundle", str(oci.bundle), "t", check=False).stderr
    path = oci.bundle / "console.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(1)
        oci.create("t", "--console-socket", str(path))
        connection, _ = server.accept()
        with connection:
            _data, ancillary, _flags, _address = connection.recvmsg(64, socket.CMSG_SPACE(4))
        master = array.array("i", ancillary[0][2])[0]
    try:
        pid = oci.state("t")["pid"]
        oci("start", "t")
        seen = b""
        while not seen.endswith(b"\r\n"):
            seen += os.read(master, 100)
        assert seen == b"/dev/pts/0\r\n"
        os.write(master, b"line\n")
        oci.wait_end(pid)
        assert b"got line" in os.read(master, 100)
    finally:
        os.close(master)


def test_pause_and_resume(oci: Oci) -> None:
    oci.configure("sleep", "1000")
    oci.create("p")
    oci("start", "p")
    oci("pause", "p")
    assert oci.state("p")["status"] == "paused"
    assert "paused" in oci("exec", "p", "true", check=False).stderr
    oci("resume", "p")
    assert oci.state("p")["status"] == "running"
    assert "not paused" in oci("resume", "p", check=False).stderr


def test_update_changes_the_kernels_limits(oci: Oci) -> None:
    oci.configure("sleep", "1000")
    oci.create("u")
    oci("start", "u")
    oci("update", "--pids-limit", "17", "--memory", "64m", "u")
    data = json.loads(oci("events", "--stats", "u").stdout)["data"]
    assert data["memory"]["limit"] == 64 << 20
    assert data["pids"]["limit"] == 17
    oci("update", "--resources", "-", "u", stdin='{"pids": {"limit": 19}}')
    assert json.loads(oci("events", "--stats", "u").stdout)["data"]["pids"]["limit"] == 19
    assert "invalid size" in oci("update", "--memory", "many", "u", check=False).stderr


def test_events_end_with_the_container(oci: Oci) -> None:
    oci.configure("sh", "-c", "sleep 0.2")
    oci.create("ev")
    with subprocess.Popen(oci.argv("events", "--interval", "50ms", "ev"), stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        first = json.loads(events.stdout.readline())
        oci("start", "ev")
        rest = [json.loads(line) for line in events.stdout]
    assert (first["type"], first["id"]) == ("stats", "ev")
    assert all(event["type"] == "stats" for event in rest)
    assert events.returncode == 0


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "a b", "x\n"])
def test_ids_that_are_no_names_are_refused(oci: Oci, name: str) -> None:
    oci.configure("true")
    for verb in (("create", "--bundle", str(oci.bundle)), ("state",), ("delete", "--force")):
        assert oci(*verb, name, check=False).returncode == 1
    assert sorted(path.name for path in oci.bundle.iterdir() if path.name != "state") == ["config.json", "rootfs"]


def test_debug_shows_every_step(oci: Oci) -> None:
    oci.configure("true")
    shown = oci("--debug", "run", "--bundle", str(oci.bundle), "x").stderr
    assert "ms  mount proc on /proc\n" in shown
    assert shown.splitlines()[-1].endswith("in all")


def test_an_id_that_is_taken_is_refused(oci: Oci) -> None:
    oci.configure("sleep", "1000")
    oci.create("same")
    assert (
        "container with given ID already exists"
        in oci("create", "--bundle", str(oci.bundle), "same", check=False).stderr
    )
    assert oci.state("same")["status"] == "created"


@pytest.mark.parametrize("args", [["nosuch"], ["/etc"]])
def test_a_failed_create_leaves_nothing_and_is_logged_for_the_engine(oci: Oci, args: list[str]) -> None:
    oci.configure(*args)
    log = oci.bundle / "log.json"
    done = oci("--log", str(log), "--log-format", "json", "create", "--bundle", str(oci.bundle), "f", check=False)
    assert done.returncode == 1
    record = json.loads(log.read_text())
    assert record["level"] == "error"
    assert "unable to start container process: exec: " in record["msg"]
    assert oci("list", "-q").stdout == ""
    assert not open_cgroup(f"{oci.parent}/c").exists()


def test_delete_force_ends_a_running_container_and_forgives_a_missing_one(oci: Oci) -> None:
    oci.configure("sleep", "1000")
    oci.create("d")
    oci("start", "d")
    pid = oci.state("d")["pid"]
    oci("delete", "--force", "d")
    assert not Path(f"/proc/{pid}/root/bin").exists()
    oci("delete", "--force", "d")
    assert oci("delete", "d", check=False).returncode == 1


def test_hooks_of_the_whole_life(oci: Oci) -> None:
    spec = oci.configure("true")
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    spec["hooks"] = {
        kind: [
            {
                "path": "/bin/sh",
                "args": [
                    "sh",
                    "-c",
                    f"echo {kind} $(cat | tr -d ' ' | grep -o 'status\":\"[a-z]*') >> {oci.bundle}/hooks",
                ],
            }
        ]
        for kind in kinds
    }
    (oci.bundle / "config.json").write_text(json.dumps(spec))
    oci("run", "--bundle", str(oci.bundle), "h")
    lines = [line.split() for line in (oci.bundle / "hooks").read_text().splitlines()]
    assert [line[0] for line in lines] == list(kinds)
    assert [line[1].rpartition('"')[2] for line in lines[:2]] == ["creating", "creating"]
    assert lines[3][1].endswith("stopped")


def test_list_shows_containers_as_a_table_and_as_json(oci: Oci) -> None:
    assert json.loads(oci("list", "--format", "json").stdout) is None
    oci.configure("sleep", "1000")
    oci.create("l1")
    assert oci("list").stdout.splitlines()[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    entry = json.loads(oci("list", "--format", "json").stdout)[0]
    assert (entry["id"], entry["status"], entry["owner"]) == ("l1", "created", "root")


def test_spec_does_not_overwrite_and_features_is_json(oci: Oci) -> None:
    oci("spec", "--bundle", str(oci.bundle))
    assert "File config.json exists" in oci("spec", "--bundle", str(oci.bundle), check=False).stderr
    features = json.loads(oci("features").stdout)
    assert features["ociVersionMax"] == "1.2.0"
    assert {"mount", "pid", "time", "user"} <= set(features["linux"]["namespaces"])


def test_preserved_descriptors_come_from_three_on(oci: Oci) -> None:
    oci.configure("sh", "-c", "echo over >&3")
    argv = oci.argv("run", "--bundle", str(oci.bundle), "--preserve-fds", "1", "fd")
    shell = ["sh", "-c", 'exec 3>"$1"; shift; exec "$@"', "sh", str(oci.bundle / "three"), *argv]
    subprocess.run(shell, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE_S)
    assert (oci.bundle / "three").read_text() == "over\n"


def test_a_stopped_containers_pid_is_not_taken_for_it_again(oci: Oci) -> None:
    """Liveness is (pid, start time): another process under the same number is not the container."""
    oci.configure("sleep", "1000")
    oci.create("pid")
    record_path = oci.root / "pid/state.json"
    record = json.loads(record_path.read_text())
    original = dict(record)
    record["pid"] = os.getpid()
    record_path.write_text(json.dumps(record))
    try:
        assert oci.state("pid")["status"] == "stopped"
        assert "not running" in oci("kill", "pid", "KILL", check=False).stderr
    finally:
        record_path.write_text(json.dumps(original))
