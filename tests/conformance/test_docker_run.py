"""`docker run` with the real client: output, exit codes, streams, terminals, detaching, signals."""

import signal
import subprocess
import time

import pytest
from tests.lab.daemon import Daemon, docker_cli
from tests.lab.terminal import docker_in_terminal


def test_run_rm_prints_and_leaves_no_container(daemon: Daemon) -> None:
    result = daemon.docker("run", "--rm", "--name", "gone", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert daemon.out("ps", "-aq", "--filter", "name=gone") == ""


@pytest.mark.parametrize(
    ("command", "code"),
    [(["true"], 0), (["false"], 1), (["sh", "-c", "exit 42"], 42)],
)
def test_the_exit_code_is_the_containers(daemon: Daemon, command: list[str], code: int) -> None:
    assert daemon.docker("run", "--rm", "busybox", *command, check=False).returncode == code


def test_a_missing_program_is_127_and_a_file_that_is_none_126(daemon: Daemon) -> None:
    missing = daemon.docker("run", "--rm", "busybox", "nosuchprogram", check=False)
    assert missing.returncode == 127
    assert 'exec: "nosuchprogram": executable file not found in $PATH' in missing.stderr
    assert daemon.docker("run", "--rm", "busybox", "/etc/passwd", check=False).returncode == 126
    assert daemon.docker("run", "--rm", "busybox", "/etc", check=False).returncode == 126
    assert daemon.out("ps", "-aq") == ""


def test_an_engine_error_is_125(daemon: Daemon) -> None:
    result = daemon.docker("run", "--rm", "-v", "relative/../x:/y:bogus", "busybox", "true", check=False)
    assert result.returncode == 125


def test_stdin_reaches_the_container_whole_and_its_end_too(daemon: Daemon) -> None:
    data = "".join(f"line {number}\n" for number in range(20_000))
    result = daemon.docker("run", "--rm", "-i", "busybox", "cat", input=data)
    assert result.stdout == data


def test_large_output_arrives_whole(daemon: Daemon) -> None:
    result = daemon.docker("run", "--rm", "busybox", "sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo end >&2")
    assert len(result.stdout) == 5_000_000
    assert result.stderr == "end\n"


def test_a_terminal_can_be_typed_in_resized_and_left_with_a_code(daemon: Daemon) -> None:
    shell = docker_in_terminal(daemon, "run", "--rm", "-it", "busybox", "sh", rows=33, columns=101)
    shell.expect("/ #")
    shell.sendline("stty size")
    shell.expect("33 101")
    shell.setwinsize(44, 120)
    shell.expect("/ #")
    for _ in range(20):
        shell.sendline("stty size")
        if shell.expect(["44 120", "33 101"]) == 0:
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the new size never arrived")
    shell.sendline("tty; exit 17")
    shell.expect("/dev/(pts/0|console)")
    shell.expect_eof() if hasattr(shell, "expect_eof") else shell.expect(__import__("pexpect").EOF)
    shell.close()
    assert shell.exitstatus == 17


def test_detach_keys_leave_the_container_running(daemon: Daemon) -> None:
    shell = docker_in_terminal(daemon, "run", "-it", "--name", "left", "busybox", "sh")
    shell.expect("/ #")
    shell.send("\x10\x11")
    shell.expect(__import__("pexpect").EOF)
    assert daemon.out("inspect", "-f", "{{.State.Status}}", "left") == "running"
    again = docker_in_terminal(daemon, "attach", "left")
    again.sendline("echo still $((40+2))")
    again.expect("still 42")
    again.sendline("exit 5")
    again.expect(__import__("pexpect").EOF)
    again.close()
    assert again.exitstatus == 5
    daemon.docker("rm", "left")


def test_signals_are_proxied(daemon: Daemon) -> None:
    script = "trap 'echo got term; exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    client = subprocess.Popen(
        [docker_cli(), "-H", daemon.host, "run", "--rm", "busybox", "sh", "-c", script],
        stdout=subprocess.PIPE,
        env=daemon.environment,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "ready\n"
    client.send_signal(signal.SIGTERM)
    assert client.stdout.readline() == "got term\n"
    assert client.wait(30) == 3


def test_detached_run_prints_the_id_and_cidfile_holds_it(daemon: Daemon) -> None:
    path = daemon.root / "cid"
    printed = daemon.out("run", "-d", "--cidfile", str(path), "busybox", "true")
    assert len(printed) == 64
    assert path.read_text() == printed
    assert daemon.out("wait", printed) == "0"
    daemon.docker("rm", printed)


def test_environment_workdir_user_hostname_and_entrypoint(daemon: Daemon) -> None:
    flags = ["-e", "A=1", "-w", "/var/www", "-u", "www-data", "-h", "box", "--entrypoint", "sh"]
    out = daemon.out("run", "--rm", *flags, "busybox", "-c", "echo $A $PWD $(id -u):$(id -g) $(hostname) $HOME")
    assert out == "1 /var/www 33:33 box /var/www"


def test_read_only_root_tmpfs_and_volumes(daemon: Daemon) -> None:
    script = (
        "touch /x 2>/dev/null && echo bad; touch /scratch/x && touch /data/y && df /scratch | tail -1 | cut -d' ' -f1"
    )
    assert (
        daemon.out(
            "run", "--rm", "--read-only", "--tmpfs", "/scratch", "-v", "vol:/data", "busybox", "sh", "-c", script
        )
        == "tmpfs"
    )
    assert (
        daemon.out(
            "run",
            "--rm",
            "-v",
            "vol:/data:ro",
            "busybox",
            "sh",
            "-c",
            "ls /data; touch /data/z 2>&1 | grep -o 'Read-only'",
        )
        == "y\nRead-only"
    )
    daemon.docker("volume", "rm", "vol")


def test_bind_mounts_and_mount_syntax(daemon: Daemon) -> None:
    source = daemon.root / "source"
    source.mkdir()
    (source / "file").write_text("content")
    assert daemon.out("run", "--rm", "-v", f"{source}:/mnt", "busybox", "cat", "/mnt/file") == "content"
    assert (
        daemon.out("run", "--rm", "--mount", f"type=bind,src={source},dst=/mnt,readonly", "busybox", "cat", "/mnt/file")
        == "content"
    )
    missing = daemon.docker("run", "--rm", "--mount", "type=bind,src=/no/such,dst=/mnt", "busybox", "true", check=False)
    assert missing.returncode == 125
    assert "bind source path does not exist: /no/such" in missing.stderr


def test_a_new_volume_takes_the_images_content(daemon: Daemon) -> None:
    assert "passwd" in daemon.out("run", "--rm", "-v", "copied:/etc", "busybox", "ls", "/etc").split()
    assert "passwd" in daemon.out("run", "--rm", "-v", "copied:/other", "busybox", "ls", "/other").split()
    assert daemon.out("run", "--rm", "-v", "fresh:/etc:nocopy", "busybox", "ls", "/etc").split() == [
        "hostname",
        "hosts",
        "resolv.conf",
    ]
    daemon.docker("volume", "rm", "copied", "fresh")


def test_missing_image_is_pulled_and_its_absence_is_said(daemon: Daemon) -> None:
    result = daemon.docker("run", "--rm", "localhost:1/nosuch", "true", check=False)
    assert result.returncode == 125
    assert "Unable to find image 'localhost:1/nosuch:latest' locally" in result.stderr
    never = daemon.docker("run", "--rm", "--pull", "never", "nosuch", "true", check=False)
    assert "No such image: nosuch:latest" in never.stderr


def test_init_reaps_and_forwards(daemon: Daemon) -> None:
    container = daemon.out("run", "-d", "--init", "busybox", "sh", "-c", "(sleep 0.1 &) ; exec sleep 1000")
    deadline = time.monotonic() + 20
    while len(daemon.out("top", container, "-o", "pid,args").splitlines()) != 3:  # a heading, init, sleep 1000
        assert time.monotonic() < deadline
        time.sleep(0.05)
    start = time.monotonic()
    daemon.docker("stop", container)
    assert time.monotonic() - start < 9
    assert daemon.inspect(container)["State"]["ExitCode"] == 143
    daemon.docker("rm", container)
