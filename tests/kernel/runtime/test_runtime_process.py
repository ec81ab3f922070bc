"""The command's own attributes: ids, capabilities, seccomp, limits, directory, descriptors, signals, terminal, init."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import termios
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.runtime.box import CAPABILITIES, DEFAULT_MASK, Running, make_spec, run, shell, spawn

from corten.runtime.launch import InitProcess, LaunchRequest, StartFailed

ERRNO_PROFILE: dict[str, Any] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}],
}


def status(text: str) -> dict[str, str]:
    """/proc/self/status as a table."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def test_root_gets_the_capabilities_of_the_spec_and_no_more(busybox_root: Path) -> None:
    values = status(shell(busybox_root, "cat /proc/self/status"))
    assert [int(values[name], 16) for name in ("CapBnd", "CapPrm", "CapEff")] == [DEFAULT_MASK] * 3
    assert [int(values[name], 16) for name in ("CapInh", "CapAmb")] == [0, 0]


def test_another_user_has_no_capabilities_but_the_bounding_set(busybox_root: Path) -> None:
    user = {"uid": 1234, "gid": 2345, "additionalGids": [2345, 7]}
    values = status(shell(busybox_root, "cat /proc/self/status", user=user))
    assert int(values["CapBnd"], 16) == DEFAULT_MASK
    assert {int(values[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}
    assert values["Uid"].split() == ["1234"] * 4
    assert values["Gid"].split() == ["2345"] * 4
    assert values["Groups"].split() == ["7", "2345"]


def test_ambient_capabilities_reach_another_user(busybox_root: Path) -> None:
    caps = {name: ["CAP_NET_RAW"] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")}
    values = status(shell(busybox_root, "cat /proc/self/status", user={"uid": 5, "gid": 5}, capabilities=caps))
    assert {int(values[name], 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")} == {1 << 13}


def test_without_capabilities_there_are_none(busybox_root: Path) -> None:
    values = status(shell(busybox_root, "cat /proc/self/status", capabilities=None))
    assert {int(values[name], 16) for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_seccomp_is_in_force_and_nothing_was_kept_for_loading_it(
    busybox_root: Path, *, no_new_privileges: bool
) -> None:
    spec = make_spec(busybox_root, "sh", "-c", "mkdir /x; cat /proc/self/status", noNewPrivileges=no_new_privileges)
    spec["linux"]["seccomp"] = ERRNO_PROFILE
    result = run(spec)
    values = status(result.out)
    assert values["Seccomp"] == "2"
    assert values["Seccomp_filters"] == str(int(status(Path("/proc/self/status").read_text())["Seccomp_filters"]) + 1)
    assert values["NoNewPrivs"] == str(int(no_new_privileges))
    assert int(values["CapPrm"], 16) == int(values["CapEff"], 16) == DEFAULT_MASK
    assert "Invalid cross-device link" in result.err


def test_seccomp_for_another_user_without_no_new_privs(busybox_root: Path) -> None:
    spec = make_spec(busybox_root, "cat", "/proc/self/status", user={"uid": 9, "gid": 9})
    spec["linux"]["seccomp"] = ERRNO_PROFILE
    values = status(run(spec).out)
    assert values["Seccomp"] == "2"
    assert int(values["CapPrm"], 16) == 0


def test_a_filter_that_allows_only_what_execve_needs_still_starts(busybox_root: Path) -> None:
    spec = make_spec(busybox_root, "true")
    spec["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": ["execve", "capset"], "action": "SCMP_ACT_ALLOW"}],
    }
    # busybox itself cannot run under it: that it was killed by SIGSYS and not the start refused is the point.
    assert run(spec).code == 128 + signal.SIGSYS


def test_a_broken_seccomp_profile_is_refused(busybox_root: Path) -> None:
    spec = make_spec(busybox_root, "true")
    spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NONSENSE"}
    with pytest.raises(StartFailed, match="SCMP_ACT_NONSENSE"):
        run(spec)


def test_rlimits_are_set(busybox_root: Path) -> None:
    limits = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
    assert shell(busybox_root, "ulimit -Sn; ulimit -Hn; ulimit -c", rlimits=limits).split() == ["100", "200", "0"]


def test_a_limit_above_what_we_may_set_is_said_in_runcs_words(busybox_root: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limits = [{"type": "RLIMIT_NOFILE", "soft": hard, "hard": hard + (1 << 40)}]
    with pytest.raises(StartFailed, match="error setting rlimits for ready process: error setting rlimit type 7: "):
        run(make_spec(busybox_root, "true", rlimits=limits))


def test_an_unknown_rlimit_is_named(busybox_root: Path) -> None:
    with pytest.raises(StartFailed, match="RLIMIT_FUN"):
        run(make_spec(busybox_root, "true", rlimits=[{"type": "RLIMIT_FUN", "soft": 1, "hard": 1}]))


def test_oom_score_umask_and_priority(busybox_root: Path) -> None:
    out = shell(
        busybox_root,
        "cat /proc/self/oom_score_adj; umask; cut -d' ' -f19,41 /proc/self/stat",
        oomScoreAdj=500,
        user={"uid": 0, "gid": 0, "umask": 0o077},
        scheduler={"policy": "SCHED_BATCH", "nice": 5},
        ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0},
    )
    assert out.split() == ["500", "0077", "5", "3"]  # 3 is SCHED_BATCH


def test_a_cpu_affinity_is_set(busybox_root: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    status_text = shell(busybox_root, "cat /proc/self/status", execCPUAffinity={"final": str(cpu)})
    assert status(status_text)["Cpus_allowed_list"] == str(cpu)


def test_the_umask_is_022_by_default(busybox_root: Path) -> None:
    assert shell(busybox_root, "umask").strip() == "0022"


def test_the_working_directory_is_made_when_it_is_missing(busybox_root: Path) -> None:
    assert shell(busybox_root, "pwd; stat -c %a .", cwd="/made/here").split() == ["/made/here", "755"]


def test_a_directory_that_only_root_may_enter_can_be_the_working_directory(busybox_root: Path) -> None:
    (busybox_root / "private").mkdir(mode=0o700)
    assert shell(busybox_root, "pwd", cwd="/private", user={"uid": 5, "gid": 5}).strip() == "/private"


def test_home_comes_from_passwd_unless_it_is_set(busybox_root: Path) -> None:
    (busybox_root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\n")
    assert shell(busybox_root, "echo $HOME", user={"uid": 33, "gid": 33}).strip() == "/var/www"
    assert shell(busybox_root, "echo $HOME", user={"uid": 99, "gid": 99}).strip() == "/"
    assert shell(busybox_root, "echo $HOME", env=["PATH=/bin", "HOME=/set"]).strip() == "/set"


def test_the_environment_is_exactly_the_specs(busybox_root: Path) -> None:
    result = run(make_spec(busybox_root, "env", env=["PATH=/bin", "A=b=c", "E="]))
    assert result.out.split() == ["PATH=/bin", "A=b=c", "E=", "HOME=/root"]


def test_no_descriptor_is_left_but_the_standard_ones(busybox_root: Path) -> None:
    leak = os.open("/", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        # The command lists its own: 3 is the directory that it reads.
        assert run(make_spec(busybox_root, "ls", "/proc/self/fd")).out.split() == ["0", "1", "2", "3"]
    finally:
        os.close(leak)


def test_preserved_descriptors_come_from_three_on(busybox_root: Path) -> None:
    read_end, write_end = os.pipe()
    try:
        spec = make_spec(busybox_root, "sh", "-c", "echo through >&4; ls /proc/self/fd | wc -l")
        result = run(spec, preserve_fds=(read_end, write_end))
        assert os.read(read_end, 100) == b"through\n"
        assert int(result.out) == 6  # 0 to 4, and the directory that ls reads
    finally:
        os.close(read_end)
        os.close(write_end)


def test_no_signal_is_ignored_or_blocked(busybox_root: Path) -> None:
    old = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        values = status(run(make_spec(busybox_root, "cat", "/proc/self/status")).out)
    finally:
        signal.signal(signal.SIGUSR2, old)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    assert int(values["SigIgn"], 16) == int(values["SigBlk"], 16) == 0


def test_the_command_leads_a_session_of_its_own(busybox_root: Path) -> None:
    fields = run(make_spec(busybox_root, "cat", "/proc/self/stat")).out.split()
    assert fields[0] == fields[4] == fields[5] == "1"


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["nosuch"], errno.ENOENT, 'exec: "nosuch": executable file not found in $PATH'),
        ([""], errno.ENOENT, 'exec: "": executable file not found in $PATH'),
        (["/nosuch"], errno.ENOENT, 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        (["/etc"], errno.EISDIR, 'exec: "/etc": is a directory'),
        (["/etc/passwd"], errno.EACCES, 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_a_command_that_cannot_be_found_is_said_in_runcs_words(
    busybox_root: Path, args: list[str], code: int, text: str
) -> None:
    with pytest.raises(StartFailed) as caught:
        run(make_spec(busybox_root, *args))
    assert (caught.value.stage, caught.value.errno, caught.value.text) == ("exec", code, text)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("not a program", "exec /broken: exec format error\n"),
        ("#!/nowhere\n", "exec /broken: no such file or directory\n"),
    ],
)
def test_a_file_that_the_kernel_refuses_ends_the_container_as_with_runc(
    busybox_root: Path, content: str, text: str
) -> None:
    (busybox_root / "broken").write_text(content)
    (busybox_root / "broken").chmod(0o755)
    assert run(make_spec(busybox_root, "/broken")) == (255, "", text)


def test_exit_codes_and_signals(busybox_root: Path) -> None:
    assert run(make_spec(busybox_root, "sh", "-c", "exit 42")).code == 42
    assert run(make_spec(busybox_root, "sh", "-c", "(kill -9 $$) ; exit 1"), init=True).code == 137


def test_a_terminal_is_the_controlling_one_and_on_dev_console(busybox_root: Path) -> None:
    script = (
        "tty; readlink /proc/self/fd/0; stat -c '%t:%T' /dev/console /dev/pts/0; stty size; echo x >/dev/tty; exit 3"
    )
    spec = make_spec(busybox_root, "sh", "-c", script, terminal=True, consoleSize={"width": 99, "height": 33})
    process = spawn(spec)
    console = process.configure(LaunchRequest(spec=spec, container_id="test"), stdio=None)
    assert console is not None
    try:
        process.wait_ready()
        process.release()
        seen = b""
        while True:
            try:
                data = os.read(console, 4096)
            except OSError:
                break
            seen += data
        assert process.wait() == 3
    finally:
        os.close(console)
        process.abort()
        process.close()
    assert seen.decode().split("\r\n") == ["/dev/pts/0", "/dev/pts/0", "88:0", "88:0", "33 99", "x", ""]


def read_line(console: int) -> bytes:
    """A line, in as many pieces as the terminal gives it."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(console, 1)
    return line


def test_resizing_the_master_reaches_the_command(busybox_root: Path) -> None:
    script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done"
    spec = make_spec(busybox_root, "sh", "-c", script, terminal=True)
    process = spawn(spec)
    console = process.configure(LaunchRequest(spec=spec, container_id="test"), stdio=None)
    assert console is not None
    try:
        process.wait_ready()
        process.release()
        assert read_line(console) == b"ready\r\n"
        ioctl(console, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 34, 0, 0))
        assert read_line(console) == b"12 34\r\n"
        assert process.wait() == 0
    finally:
        os.close(console)
        process.abort()
        process.close()


def test_a_non_root_user_may_reopen_its_stdout(busybox_root: Path) -> None:
    read_end, write_end = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    spec = make_spec(busybox_root, "sh", "-c", "echo hello >/dev/stdout", user={"uid": 77, "gid": 77})
    process = spawn(spec)
    try:
        process.configure(LaunchRequest(spec=spec), stdio=(null, write_end, write_end))
        process.wait_ready()
        process.release()
        assert process.wait() == 0
        assert os.read(read_end, 100) == b"hello\n"
    finally:
        process.abort()
        process.close()
        for fd in (read_end, write_end, null):
            os.close(fd)


def test_each_container_has_a_session_keyring_of_its_own(busybox_root: Path) -> None:
    spec = make_spec(busybox_root, "cat", "/proc/keys")
    spec["linux"]["maskedPaths"] = []
    assert "_ses.test" in run(spec).out


def test_the_reaper_forwards_signals_reaps_orphans_and_passes_the_status_on(busybox_root: Path) -> None:
    script = (
        "trap 'exit 9' TERM; (true & ) ; "
        "while cat /proc/[0-9]*/stat 2>/dev/null | grep -q ') Z '; do :; done;"
        "echo $$; cat /proc/1/comm; kill -TERM 1; while :; do sleep 0.01; done"
    )
    result = run(make_spec(busybox_root, "sh", "-c", script), init=True)
    assert result.code == 9, result
    assert result.out.split() == ["2", "corten-init"]


def test_process_one_is_the_containers_in_all_and_takes_next_to_no_memory(busybox_root: Path) -> None:
    script = "cat /proc/1/status; ls /proc/1/fd; readlink /proc/1/exe; tr '\\0' ' ' </proc/1/cmdline"
    spec = make_spec(busybox_root, "sh", "-c", script, user={"uid": 5, "gid": 6})
    spec["linux"]["seccomp"] = ERRNO_PROFILE
    result = run(spec, init=True)
    values = status(result.out)
    assert result.code == 0, result
    assert values["Uid"].split() == ["5"] * 4
    assert int(values["CapEff"], 16) == 0
    assert int(values["CapBnd"], 16) == DEFAULT_MASK
    assert values["Seccomp"] == "2"
    assert int(values["VmRSS"].split()[0]) < 100
    lines = result.out.splitlines()
    assert lines[-5:-1] == ["0", "1", "2", "/memfd:corten-init (deleted)"]
    assert lines[-1].startswith("corten-init -- sh -c ")


def test_with_init_the_command_has_its_environment_and_descriptors(busybox_root: Path) -> None:
    read_end, write_end = os.pipe()
    try:
        spec = make_spec(busybox_root, "sh", "-c", "env; echo through >&3; ls /proc/self/fd", env=["A=b", "PATH=/bin"])
        result = run(spec, init=True, preserve_fds=(write_end,))
        assert {"A=b", "PATH=/bin", "HOME=/root"} <= set(result.out.split())
        assert not any(line.startswith("/bin/") for line in result.out.split())
        assert result.out.split()[-5:] == ["0", "1", "2", "3", "4"]  # 4 is the directory that ls reads
        assert os.read(read_end, 100) == b"through\n"
    finally:
        os.close(read_end)
        os.close(write_end)


def test_with_init_a_file_that_the_kernel_refuses_gives_126(busybox_root: Path) -> None:
    (busybox_root / "broken").write_text("not a program")
    (busybox_root / "broken").chmod(0o755)
    assert run(make_spec(busybox_root, "/broken"), init=True) == (126, "", "corten-init: exec failed\n")


def test_what_the_host_lacks_is_left_out_of_the_capabilities(busybox_root: Path) -> None:
    own = int(status(Path("/proc/self/status").read_text())["CapPrm"], 16)
    names = [*CAPABILITIES, "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_FROM_THE_FUTURE"]
    caps = dict.fromkeys(("bounding", "effective", "permitted"), names)
    values = status(shell(busybox_root, "cat /proc/self/status", capabilities=caps))
    wanted = (DEFAULT_MASK | 1 << 21 | 1 << 24) & own
    assert int(values["CapPrm"], 16) == wanted


def test_abort_before_the_start_leaves_nothing(busybox_root: Path) -> None:
    process = spawn(make_spec(busybox_root))
    process.abort()
    process.abort()
    process.close()
    assert process.returncode == 137


def test_an_init_whose_parent_goes_away_ends(busybox_root: Path) -> None:
    process = spawn(make_spec(busybox_root))
    process._channel.close()
    assert process.wait() == 1
    process.close()


def test_an_init_that_was_killed_is_reported(busybox_root: Path) -> None:
    process = InitProcess.spawn(namespaces=[{"type": "mount"}, {"type": "pid"}])
    process.signal(signal.SIGKILL)
    null = os.open("/dev/null", os.O_RDWR)
    spec = make_spec(busybox_root, "true")
    spec["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}]
    spec["hostname"] = ""
    try:
        with pytest.raises(StartFailed, match=r"was killed|ended before"):
            process.configure(LaunchRequest(spec=spec), stdio=(null, null, null))
            process.wait_ready()
    finally:
        os.close(null)
        process.close()


def test_running_containers_can_be_signalled(busybox_root: Path) -> None:
    with Running(make_spec(busybox_root, "sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.01; done")) as box:
        while "TERM" not in box.exec("sh", "-c", "grep -q '^SigCgt:.*4' /proc/1/status && echo TERM").out:
            pass
        box.init.signal(signal.SIGTERM)
        assert box.init.wait() == 4
        box.init.signal(signal.SIGTERM)
