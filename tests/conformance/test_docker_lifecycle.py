"""The life of a container with the real client: ps, logs, exec, stop, start, pause, update, inspect, events ..."""

import json
import subprocess
import threading
import time

import pexpect
import pytest
from tests.lab.daemon import Daemon, docker_cli
from tests.lab.terminal import docker_in_terminal


def test_ps_shows_running_and_all(daemon: Daemon, cid: str) -> None:
    rows = daemon.out(
        "ps", "--no-trunc", "--format", "{{.ID}} {{.Image}} {{.Command}} {{.State}} {{.Names}}"
    ).splitlines()
    assert any(row.startswith(f'{cid} busybox "sleep 1000" running ') for row in rows)
    assert daemon.out("ps", "-q", "--filter", f"id={cid[:8]}", "--filter", "status=exited") == ""
    assert daemon.out("ps", "--filter", f"id={cid}", "--format", "{{.Status}}").startswith("Up ")


def test_logs_follow_until_the_end_with_timestamps_and_tail(daemon: Daemon) -> None:
    script = "for i in 1 2 3; do echo line $i; sleep 0.2; done; echo last >&2"
    container = daemon.out("run", "-d", "busybox", "sh", "-c", script)
    followed = daemon.docker("logs", "-f", container)
    assert followed.stdout == "line 1\nline 2\nline 3\n"
    assert followed.stderr == "last\n"
    assert daemon.docker("logs", "--tail", "1", container).stderr == "last\n"
    stamped = daemon.out("logs", "-t", "--tail", "2", container).split()
    assert stamped[0].endswith("Z")
    assert stamped[1:] == ["line", "3"]
    assert daemon.docker("logs", "--since", "1h", container).stdout == followed.stdout
    assert daemon.docker("logs", "--until", "1h", container).stdout == ""
    daemon.docker("rm", container)


def test_exec_streams_codes_user_and_errors(daemon: Daemon, cid: str) -> None:
    result = daemon.docker("exec", cid, "sh", "-c", "echo o; echo e >&2; exit 9", check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("o\n", "e\n", 9)
    assert daemon.out("exec", "-i", cid, "cat", input="typed") == "typed"
    assert (
        daemon.out("exec", "-u", "nobody", "-e", "X=y", "-w", "/tmp", cid, "sh", "-c", "id -u; echo $X; pwd")
        == "65534\ny\n/tmp"
    )
    missing = daemon.docker("exec", cid, "nosuch", check=False)
    assert missing.returncode in (126, 127)
    assert "executable file not found in $PATH" in missing.stdout + missing.stderr
    daemon.docker("exec", "-d", cid, "touch", "/tmp/made")
    for _ in range(100):
        if daemon.docker("exec", cid, "test", "-e", "/tmp/made", check=False).returncode == 0:
            break
    else:
        raise AssertionError("detached exec never ran")


def test_exec_in_a_terminal(daemon: Daemon, cid: str) -> None:
    shell = docker_in_terminal(daemon, "exec", "-it", cid, "sh", rows=21, columns=77)
    shell.expect("/ #")
    shell.sendline("stty size; exit 6")
    shell.expect("21 77")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 6


def test_stop_start_restart_kill(daemon: Daemon) -> None:
    container = daemon.out("run", "-d", "--init", "busybox", "sleep", "1000")
    first = daemon.inspect(container)["State"]
    daemon.docker("stop", container)
    stopped = daemon.inspect(container)["State"]
    assert (stopped["Status"], stopped["ExitCode"], stopped["Pid"]) == ("exited", 143, 0)
    daemon.docker("start", container)
    assert daemon.inspect(container)["State"]["Pid"] not in (0, first["Pid"])
    daemon.docker("restart", "-t", "1", container)
    assert daemon.inspect(container)["State"]["Running"] is True
    daemon.docker("kill", "-s", "KILL", container)
    daemon.docker("wait", container)
    assert daemon.inspect(container)["State"]["ExitCode"] == 137
    assert "is not running" in daemon.docker("kill", container, check=False).stderr
    daemon.docker("rm", container)


def test_stop_kills_what_ignores_the_signal(daemon: Daemon) -> None:
    container = daemon.out("run", "-d", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    daemon.docker("stop", "-t", "1", container)
    assert daemon.inspect(container)["State"]["ExitCode"] == 137
    daemon.docker("rm", container)


def test_pause_stops_the_processes(daemon: Daemon) -> None:
    container = daemon.out("run", "-d", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /count; done")
    daemon.docker("pause", container)
    assert daemon.out("ps", "--filter", f"id={container}", "--format", "{{.Status}}").endswith("(Paused)")
    pid = daemon.inspect(container)["State"]["Pid"]
    before = open(f"/proc/{pid}/stat").read()
    time.sleep(0.2)
    assert open(f"/proc/{pid}/stat").read() == before
    assert "is paused" in daemon.docker("exec", container, "true", check=False).stderr
    daemon.docker("unpause", container)
    assert daemon.out("exec", container, "echo", "again") == "again"
    daemon.docker("rm", "-f", container)


def test_rename_update_and_inspect_format(daemon: Daemon, cid: str) -> None:
    daemon.docker("rename", cid, "renamed")
    assert (
        daemon.out("inspect", "-f", "{{.Name}} {{.HostConfig.NetworkMode}} {{.State.Running}}", "renamed")
        == "/renamed bridge true"
    )
    daemon.docker(
        "update", "--memory", "64m", "--memory-swap", "64m", "--cpus", "0.5", "--restart", "on-failure:3", "renamed"
    )
    host = daemon.inspect("renamed")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (64 << 20, 500_000_000)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}


def test_a_taken_name_is_a_conflict(daemon: Daemon, cid: str) -> None:
    daemon.docker("rename", cid, "taken")
    result = daemon.docker("create", "--name", "taken", "busybox", check=False)
    assert f'Conflict. The container name "/taken" is already in use by container "{cid}"' in result.stderr


def test_wait_and_events(daemon: Daemon) -> None:
    since = str(time.time() - 1)
    container = daemon.out("run", "-d", "--label", "k=v", "busybox", "sh", "-c", "sleep 0.3; exit 7")
    assert daemon.out("wait", container) == "7"
    daemon.docker("rm", container)
    lines = daemon.out(
        "events",
        "--since",
        since,
        "--until",
        str(time.time() + 1),
        "--filter",
        f"container={container}",
        "--format",
        "{{json .}}",
    )
    events = [json.loads(line) for line in lines.splitlines()]
    actions = [event["Action"] for event in events if event["Type"] == "container"]
    assert actions == ["create", "start", "die", "destroy"]
    died = events[[event["Action"] for event in events].index("die")]
    assert died["Actor"]["Attributes"]["exitCode"] == "7"
    assert died["Actor"]["Attributes"]["k"] == "v"
    assert died["Actor"]["ID"] == container


def test_events_stream_live(daemon: Daemon) -> None:
    client = subprocess.Popen(
        [
            docker_cli(),
            "-H",
            daemon.host,
            "events",
            "--filter",
            "event=start",
            "--format",
            "{{.Actor.Attributes.name}}",
        ],
        stdout=subprocess.PIPE,
        env=daemon.environment,
        text=True,
    )
    assert client.stdout is not None
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.append(client.stdout.readline().strip()))
    reader.start()
    for number in range(50):
        daemon.docker("run", "--rm", "--name", f"live{number}", "busybox", "true")
        reader.join(0.1)
        if not reader.is_alive():
            break
    client.terminate()
    client.wait()
    reader.join(10)
    assert seen[0].startswith("live")


def test_stats_and_top(daemon: Daemon, cid: str) -> None:
    row = json.loads(daemon.out("stats", "--no-stream", "--format", "{{json .}}", cid))
    assert row["PIDs"] in ("1", "2")
    assert row["MemUsage"].split("/")[0].strip() not in ("", "0B", "--")
    top = daemon.out("top", cid)
    assert "sleep 1000" in top
    assert top.splitlines()[0].split()[:2] == ["UID", "PID"]
    assert "sleep" in daemon.out("top", cid, "-o", "pid,comm")


def test_info_and_version(daemon: Daemon) -> None:
    info = json.loads(daemon.out("info", "--format", "{{json .}}"))
    assert info["OSType"] == "linux"
    assert info["Images"] >= 1
    assert not info.get("ServerErrors")
    assert daemon.out("version", "--format", "{{.Server.Os}} {{.Server.APIVersion}}") == "linux 1.50"
    assert "Storage Driver" in daemon.out("info")


def test_restart_policy_starts_again_until_the_limit(daemon: Daemon) -> None:
    container = daemon.out("run", "-d", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 4")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = daemon.inspect(container)
        if state["State"]["Status"] == "exited" and state["RestartCount"] == 2:
            break
        time.sleep(0.1)
    assert state["RestartCount"] == 2
    assert state["State"]["ExitCode"] == 4
    assert daemon.out("logs", container).split() == ["run"] * 3
    daemon.docker("rm", container)


def test_health_check_turns_healthy_then_unhealthy(daemon: Daemon) -> None:
    container = daemon.out(
        "run",
        "-d",
        "--health-cmd",
        "test -e /ok",
        "--health-interval",
        "200ms",
        "--health-retries",
        "2",
        "busybox",
        "sh",
        "-c",
        "touch /ok; sleep 1000",
    )

    def until(wanted: str) -> None:
        deadline = time.monotonic() + 20
        while daemon.inspect(container)["State"]["Health"]["Status"] != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    until("healthy")
    assert "(healthy)" in daemon.out("ps", "--filter", f"id={container}", "--format", "{{.Status}}")
    daemon.docker("exec", container, "rm", "/ok")
    until("unhealthy")
    daemon.docker("rm", "-f", container)


@pytest.mark.parametrize("network", ["bridge", "none"])
def test_network_modes(daemon: Daemon, network: str) -> None:
    links = daemon.out("run", "--rm", "--network", network, "busybox", "ls", "/sys/class/net").split()
    if network == "host":
        assert set(links) == {entry.split(":")[0].strip() for entry in open("/proc/net/dev").read().splitlines()[2:]}
    else:
        assert sorted(links) == {"bridge": ["eth0", "lo"], "none": ["lo"]}[network]


def test_a_container_shares_anothers_network(daemon: Daemon, cid: str) -> None:
    mine = daemon.out("exec", cid, "cat", "/sys/class/net/eth0/address")
    assert (
        daemon.out("run", "--rm", "--network", f"container:{cid}", "busybox", "cat", "/sys/class/net/eth0/address")
        == mine
    )


def test_diff_commit_and_history(daemon: Daemon) -> None:
    container = daemon.out(
        "run", "-d", "busybox", "sh", "-c", "echo new > /new; rm /etc/group; echo x >> /etc/passwd; sleep 1000"
    )
    for _ in range(100):
        changes = set(daemon.out("diff", container).splitlines())
        if "C /etc/passwd" in changes:
            break
    assert {"A /new", "D /etc/group", "C /etc/passwd", "C /etc"} <= changes
    assert not any("resolv.conf" in change or "/dev" in change for change in changes)
    image = daemon.out(
        "commit", "-m", "message", "-a", "author", "--change", 'CMD ["cat", "/new"]', container, "committed:1"
    )
    assert image.startswith("sha256:")
    assert daemon.out("run", "--rm", "committed:1") == "new"
    assert daemon.docker("run", "--rm", "committed:1", "ls", "/etc/group", check=False).returncode != 0
    assert "message" in daemon.out("history", "--no-trunc", "committed:1")
    daemon.docker("rm", "-f", container)
    daemon.docker("rmi", "committed:1")


def test_cp_both_ways_running_and_stopped(daemon: Daemon) -> None:
    source = daemon.root / "copy"
    (source / "sub").mkdir(parents=True)
    (source / "sub/file").write_text("payload")
    (source / "link").symlink_to("sub/file")
    container = daemon.out("run", "-d", "-v", "cpvol:/vol", "busybox", "sleep", "1000")
    for _state in ("running", "stopped"):
        daemon.docker("cp", f"{source}/.", f"{container}:/tmp/in")
        daemon.docker("cp", f"{source}/sub/file", f"{container}:/vol/file")
        target = daemon.root / f"out-{_state}"
        daemon.docker("cp", f"{container}:/tmp/in", str(target))
        assert (target / "sub/file").read_text() == "payload"
        assert (target / "link").readlink().name == "file"
        daemon.docker("cp", f"{container}:/vol/file", str(daemon.root / f"vol-{_state}"))
        assert (daemon.root / f"vol-{_state}").read_text() == "payload"
        daemon.docker("stop", "-t", "0", container)
    missing = daemon.docker("cp", f"{container}:/nope", "/tmp", check=False)
    assert "Could not find the file /nope in container" in missing.stderr
    daemon.docker("rm", "-v", container)
    daemon.docker("volume", "rm", "cpvol")


def test_export_import_save_load(daemon: Daemon) -> None:
    container = daemon.out("create", "busybox")
    exported, saved = daemon.root / "export.tar", daemon.root / "save.tar"
    daemon.docker("export", "-o", str(exported), container)
    daemon.docker("import", "--change", "CMD /bin/echo imported", str(exported), "imported:1")
    assert daemon.out("run", "--rm", "imported:1") == "imported"
    daemon.docker("tag", "busybox", "copy:2")
    image = daemon.inspect("copy:2")["Id"]
    daemon.docker("save", "-o", str(saved), "copy:2")
    assert "Untagged: copy:2" in daemon.out("rmi", "copy:2")
    assert daemon.out("load", "-i", str(saved)) == "Loaded image: copy:2"
    assert daemon.inspect("copy:2")["Id"] == image
    daemon.docker("rm", container)
    daemon.docker("rmi", "copy:2", "imported:1")


def test_rm_force_and_system_prune(daemon: Daemon, cid: str) -> None:
    refused = daemon.docker("rm", cid, check=False)
    assert "container is running: stop the container before removing or force remove" in refused.stderr
    daemon.docker("rm", "-f", cid)
    stopped = daemon.out("create", "busybox")
    pruned = daemon.out("system", "prune", "-f")
    assert stopped in pruned
    assert "Total reclaimed space" in pruned
    assert daemon.out("ps", "-aq") == ""
