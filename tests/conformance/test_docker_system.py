"""The engine as a whole with the real client: version, info, events, volumes, df; the daemon as a program."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import REPOSITORY, Daemon, docker_cli


def test_version_shows_both_sides(daemon: Daemon) -> None:
    version = json.loads(daemon.out("version", "--format", "{{json .}}"))
    assert version["Server"]["ApiVersion"] == "1.50"
    assert version["Server"]["MinAPIVersion"] == "1.24"
    assert version["Client"]["ApiVersion"] == "1.50"
    assert version["Server"]["Os"] == "linux"


def test_info_has_what_clients_read(daemon: Daemon) -> None:
    info = json.loads(daemon.out("info", "--format", "{{json .}}"))
    assert info["ServerErrors"] is None if "ServerErrors" in info else True
    assert info["DockerRootDir"] == str(daemon.data_root)
    assert info["NCPU"] == len(os.sched_getaffinity(0))
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert info["RegistryConfig"]["IndexConfigs"]["docker.io"]["Official"] is True
    assert info["SecurityOptions"][0] == "name=seccomp,profile=builtin"
    assert info["Plugins"]["Volume"] == ["local"]
    assert "Containers: " in daemon.out("info")


@pytest.mark.parametrize(
    "arguments", [("node", "ls"), ("service", "ls"), ("secret", "ls"), ("stack", "ls"), ("swarm", "ca")]
)
def test_swarm_commands_say_that_there_is_none(daemon: Daemon, arguments: tuple[str, ...]) -> None:
    result = daemon.docker(*arguments, check=False)
    assert result.returncode == 1
    assert "This node is not a swarm manager" in result.stderr


def test_no_plugins(daemon: Daemon) -> None:
    assert daemon.out("plugin", "ls", "-q") == ""


def test_events_are_replayed_filtered_and_live(daemon: Daemon) -> None:
    daemon.out("volume", "create", "seen")
    past = daemon.out("events", "--since", "1h", "--until=-2s", "--filter", "volume=seen", "--format", "{{.Action}}")
    assert past == "create"
    live = subprocess.Popen(
        [docker_cli(), "-H", daemon.host, "events", "--filter", "type=volume", "--format", "{{.Action}} {{.Actor.ID}}"],
        stdout=subprocess.PIPE,
        text=True,
        env=daemon.environment,
    )
    assert live.stdout is not None
    try:
        while json.loads(daemon.out("info", "--format", "{{json .NEventsListener}}")) == 0:
            pass
        daemon.out("volume", "rm", "seen")
        assert live.stdout.readline() == "destroy seen\n"
    finally:
        live.kill()
        live.wait()
    assert "invalid filter" in daemon.docker("events", "--filter", "bogus=x", "--until", "0s", check=False).stderr


def test_volumes_are_made_listed_filled_and_removed(daemon: Daemon) -> None:
    assert daemon.out("volume", "create", "--label", "a=b", "data") == "data"
    assert daemon.out("volume", "ls", "-q", "--filter", "label=a=b") == "data"
    daemon.out("run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo hello >/data/file")
    assert daemon.out("run", "--rm", "-v", "data:/data:ro", "busybox", "cat", "/data/file") == "hello"
    mountpoint = daemon.out("volume", "inspect", "-f", "{{.Mountpoint}}", "data")
    assert Path(mountpoint, "file").read_text() == "hello\n"
    container = daemon.out("create", "-v", "data:/data", "busybox")
    refused = daemon.docker("volume", "rm", "data", check=False)
    assert f"remove data: volume is in use - [{container}]" in refused.stderr
    daemon.out("rm", container)
    assert daemon.out("volume", "rm", "data") == "data"
    assert "get data: no such volume" in daemon.docker("volume", "inspect", "data", check=False).stderr


def test_a_new_volume_has_the_images_content(daemon: Daemon) -> None:
    assert "passwd" in daemon.out("run", "--rm", "-v", "etc:/etc", "busybox", "ls", "/etc").split()
    mountpoint = Path(daemon.out("volume", "inspect", "-f", "{{.Mountpoint}}", "etc"))
    assert (mountpoint / "passwd").read_text().startswith("root:")
    assert not daemon.out("run", "--rm", "-v", "empty:/nowhere", "busybox", "ls", "/nowhere")
    daemon.out("volume", "rm", "etc", "empty")


def test_anonymous_volumes_go_with_their_container(daemon: Daemon) -> None:
    container = daemon.out("create", "-v", "/data", "busybox")
    (name,) = daemon.out("volume", "ls", "-q").split()
    assert len(name) == 64
    daemon.out("rm", container)
    assert daemon.out("volume", "ls", "-q") == name
    assert name in daemon.out("volume", "prune", "-f")
    daemon.out("run", "--rm", "-v", "/data", "busybox", "true")
    assert daemon.out("volume", "ls", "-q") == ""


def test_a_tmpfs_volume_is_shared_while_it_is_used(daemon: Daemon) -> None:
    options = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,mode=0700")
    daemon.out("volume", "create", *options, "ram")
    first = daemon.out("run", "-d", "--init", "-v", "ram:/ram", "busybox", "sh", "-c", "echo x >/ram/f; sleep 1000")
    mounts = daemon.out("exec", first, "grep", " /ram ", "/proc/mounts")
    assert mounts.startswith("tmpfs /ram tmpfs rw,relatime,size=1024k,mode=700")
    daemon.out("run", "--rm", "-v", "ram:/ram", "busybox", "test", "-e", "/ram/f")
    daemon.out("rm", "-f", first)
    assert daemon.out("run", "--rm", "-v", "ram:/ram", "busybox", "ls", "/ram") == ""
    daemon.out("volume", "rm", "ram")
    wrong = daemon.docker("volume", "create", "--opt", "bogus=1", "x1", check=False)
    assert 'invalid option: "bogus"' in wrong.stderr


def test_disk_usage(daemon: Daemon) -> None:
    daemon.out("volume", "create", "sized")
    rows = daemon.out("system", "df", "--format", "{{.Type}} {{.TotalCount}}").splitlines()
    assert "Images 1" in rows
    assert "Local Volumes 1" in rows
    assert "sized" in daemon.out("system", "df", "-v")
    daemon.out("volume", "rm", "sized")


# -- the daemon as a program


@pytest.fixture
def own() -> Daemon:
    """A daemon that this test starts and stops."""
    one = Daemon()
    yield one
    one.stop()
    shutil.rmtree(one.root, ignore_errors=True)


def program(own: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`corten daemon ...` for the same roots."""
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'src')!r}); from corten.daemon.main import main; sys.exit(main())"
    roots = ("--data-root", str(own.data_root), "--exec-root", str(own.exec_root))
    argv = [sys.executable, "-I", "-c", code, *roots, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=own.environment)


def test_two_daemons_on_one_root_are_refused(own: Daemon) -> None:
    own.start()
    second = program(own)
    assert second.returncode == 1
    assert f"failed to start daemon: another daemon (process {own.pid}) uses {own.data_root}" in second.stderr
    assert own.answers()


def test_stop_ends_the_daemon_and_leaves_nothing(own: Daemon) -> None:
    own.start()
    own.docker("load", "-i", str(images.busybox()))
    own.out("run", "--rm", "busybox", "true")
    instance = hashlib.sha256(str(own.exec_root).encode()).hexdigest()[:6]
    assert Path(f"/sys/class/net/ct{instance}").exists()
    stopped = program(own, "stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert stopped.stdout.startswith(f"The daemon (process {own.pid}) has ended.")
    assert not own.answers()
    assert not own.socket.exists()
    assert not (own.root / "pid").exists()
    assert not Path(f"/sys/class/net/ct{instance}").exists()
    assert list(Path("/sys/fs/cgroup").glob(f"**/corten-{instance}")) == []
    assert list((own.exec_root / "shim").iterdir()) == []
    again = program(own, "stop")
    assert again.returncode == 1
    assert "no daemon listens on" in again.stderr


def test_a_hangup_reloads_the_configuration_and_tells_of_it(own: Daemon) -> None:
    (own.root / "daemon.json").write_text("{}")
    own.start()
    told: list[str] = []

    def listen() -> None:
        events = subprocess.Popen(
            [docker_cli(), "-H", own.host, "events", "--filter", "type=daemon", "--format", "{{json .}}"],
            stdout=subprocess.PIPE,
            text=True,
            env=own.environment,
        )
        assert events.stdout is not None
        told.append(events.stdout.readline())
        events.kill()
        events.wait()

    thread = threading.Thread(target=listen)
    thread.start()
    while json.loads(own.out("info", "--format", "{{json .NEventsListener}}")) == 0:
        pass
    (own.root / "daemon.json").write_text(json.dumps({"labels": ["rack=7"], "debug": True}))
    os.kill(own.pid, signal.SIGHUP)
    thread.join(60)
    event = json.loads(told[0])
    assert (event["Type"], event["Action"]) == ("daemon", "reload")
    assert event["Actor"]["Attributes"]["labels"] == '["rack=7"]'
    info = json.loads(own.out("info", "--format", "{{json .}}"))
    assert (info["Labels"], info["Debug"]) == (["rack=7"], True)
    (own.root / "daemon.json").write_text("{")
    os.kill(own.pid, signal.SIGHUP)
    assert own.out("info", "--format", "{{.Labels}}") == "[rack=7]"


def test_a_wrong_configuration_stops_the_start_with_one_sentence(own: Daemon) -> None:
    (own.root / "wrong.json").write_text('{"nonsense": 1}')
    result = program(own, "--config-file", str(own.root / "wrong.json"), "--validate")
    assert result.returncode == 1
    assert "the following directives don't match any configuration option: nonsense" in result.stderr
    assert "Traceback" not in result.stderr
    assert not own.data_root.exists()


def test_several_hosts_are_served_and_tcp_keeps_strangers_out() -> None:
    with tempfile.TemporaryDirectory(prefix="ct") as name, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        one = Daemon("-H", f"unix://{name}/second", "-H", f"tcp://127.0.0.1:{port}")
        try:
            one.start()
            for host in (f"unix://{name}/second", f"tcp://127.0.0.1:{port}"):
                argv = [docker_cli(), "-H", host, "version", "--format", "{{.Server.APIVersion}}"]
                result = subprocess.run(
                    argv, capture_output=True, text=True, check=True, env=one.environment, timeout=60
                )
                assert result.stdout == "1.50\n"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as evil:
                evil.sendall(b"GET /info HTTP/1.1\r\nHost: evil.example\r\n\r\n")
                assert evil.recv(12) == b"HTTP/1.1 403"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as evil:
                evil.sendall(
                    b"POST /containers/create HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\n\r\n"
                )
                assert evil.recv(12) == b"HTTP/1.1 403"
        finally:
            one.stop()
            shutil.rmtree(one.root, ignore_errors=True)


def test_a_container_runs_over_tls_with_client_certificates() -> None:
    files = REPOSITORY / "tests/unit/api/tls"
    pair = (
        "--tlscacert",
        str(files / "cert.pem"),
        "--tlscert",
        str(files / "cert.pem"),
        "--tlskey",
        str(files / "key.pem"),
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = Daemon("-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *pair)

    def secure(*arguments: str, **options: object) -> str:
        argv = [docker_cli(), "-H", f"tcp://localhost:{port}", "--tlsverify", *pair, *arguments]
        result = subprocess.run(
            argv, capture_output=True, text=True, check=True, env=one.environment, timeout=60, **options
        )
        return result.stdout

    try:
        one.start()
        one.docker("load", "-i", str(images.busybox()))
        assert secure("run", "--rm", "busybox", "echo", "out", stdin=subprocess.DEVNULL) == "out\n"
        assert secure("run", "-i", "--rm", "busybox", "cat", input="in" * 100_000) == "in" * 100_000
        plain = subprocess.run(
            [docker_cli(), "-H", f"tcp://localhost:{port}", "ps"], capture_output=True, check=False, timeout=60
        )
        assert plain.returncode != 0
    finally:
        assert one.clean() == []
