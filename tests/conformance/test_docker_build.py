"""`docker build` with the real client: the classic builder's API, its stream, its cache and what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, docker_cli, running_daemon

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.environment["DOCKER_BUILDKIT"] = "0"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A context with a few files in it."""
    root = tmp_path / "context"
    (root / "dir/sub").mkdir(parents=True)
    (root / "a.txt").write_text("a\n")
    (root / "dir/d").write_text("d\n")
    (root / "dir/sub/s").write_text("s\n")
    return root


@pytest.fixture
def build(daemon: Daemon, context: Path) -> Build:
    """Build a Dockerfile's text in the context, as t:1."""

    def run(dockerfile: str, *flags: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        (context / "Dockerfile").write_text(dockerfile)
        return daemon.docker("build", "-t", "t:1", *flags, str(context), check=check, **options)

    return run


def run(daemon: Daemon, *command: str, image: str = "t:1") -> str:
    return daemon.out("run", "--rm", "--network", "none", image, *command)


def test_the_stream_is_the_classic_builders(daemon: Daemon, build: Build) -> None:
    output = build('FROM busybox\nENV A=b\nRUN echo said\nCMD ["true"]\n').stdout
    expected = re.compile(
        r"Sending build context to Docker daemon +\S+\n\n?"
        r"Step 1/4 : FROM busybox\n ---> [0-9a-f]{12}\n"
        r"Step 2/4 : ENV A=b\n ---> [0-9a-f]{12}\n"
        r"Step 3/4 : RUN echo said\n ---> Running in ([0-9a-f]{12})\nsaid\n"
        r" ---> Removed intermediate container \1\n ---> [0-9a-f]{12}\n"
        r"Step 4/4 : CMD \[\"true\"\]\n ---> ([0-9a-f]{12})\n"
        r"Successfully built \2\nSuccessfully tagged t:1\n\Z"
    )
    assert expected.match(output.replace("\r", "")), output
    assert daemon.out("ps", "-aq") == ""


def test_a_second_build_is_the_same_image_from_the_cache(daemon: Daemon, build: Build) -> None:
    dockerfile = "FROM busybox\nWORKDIR /app\nCOPY . .\nRUN echo x > /made\nUSER nobody\n"
    build(dockerfile)
    first = daemon.inspect("t:1")
    output = build(dockerfile).stdout
    assert daemon.inspect("t:1")["Id"] == first["Id"]
    assert output.count(" ---> Using cache\n") == 3
    assert "Running in" not in output


def test_steps_below_a_changed_file_are_done_again_and_those_above_it_are_not(build: Build, context: Path) -> None:
    dockerfile = "FROM busybox\nRUN echo one\nCOPY a.txt /\nRUN cat /a.txt\n"
    build(dockerfile)
    (context / "a.txt").write_text("changed\n")
    output = build(dockerfile).stdout
    assert output.count("Using cache") == 1
    assert output.count("Running in") == 1
    assert "changed" in output


def test_a_file_that_is_not_copied_changes_nothing(build: Build, context: Path) -> None:
    dockerfile = "FROM busybox\nCOPY dir /dir\nRUN ls /dir\n"
    build(dockerfile)
    (context / "a.txt").write_text("other\n")
    (context / "dir/d").touch()
    assert build(dockerfile).stdout.count("Using cache") == 2


def test_no_cache_does_everything_again(build: Build) -> None:
    dockerfile = "FROM busybox\nRUN echo again\n"
    build(dockerfile)
    assert "Running in" in build(dockerfile, "--no-cache").stdout


def test_stages_that_nothing_needs_are_not_built(daemon: Daemon, build: Build) -> None:
    output = build(
        "FROM busybox AS unused\nRUN exit 1\n"
        "FROM busybox AS made\nRUN mkdir /out && echo made > /out/f && chown 33:33 /out/f\n"
        "FROM busybox\nCOPY --from=made /out /got\n"
    ).stdout
    assert "exit 1" not in output
    assert run(daemon, "stat", "-c", "%u:%g", "/got/f") == "33:33"


def test_a_target_ends_the_build_there(daemon: Daemon, build: Build) -> None:
    build("FROM busybox AS one\nRUN echo 1 > /stage\nFROM one AS two\nRUN echo 2 > /stage\n", "--target", "one")
    assert run(daemon, "cat", "/stage") == "1"


def test_copies_have_the_owner_mode_and_place_asked_for(daemon: Daemon, build: Build) -> None:
    build(
        "FROM busybox\nRUN ln -s /var/www /link\nWORKDIR /work\n"
        "COPY a.txt rel/\nCOPY --chown=www-data:daemon --chmod=0640 dir /owned\nCOPY a.txt /link/\nCOPY dir/* /flat/\n"
        'COPY ["a.txt", "/with space"]\n'
    )
    listed = run(daemon, "sh", "-c", "stat -c '%n %a %u:%g' /work/rel/a.txt /owned /owned/sub/s '/with space'")
    assert listed.splitlines() == [
        "/work/rel/a.txt 644 0:0", "/owned 755 33:1", "/owned/sub/s 640 33:1", "/with space 644 0:0",
    ]  # fmt: skip
    assert run(daemon, "ls", "/var/www", "/flat").split() == ["/flat:", "d", "s", "/var/www:", "a.txt"]


def test_add_unpacks_archives_and_copy_does_not(daemon: Daemon, build: Build, context: Path) -> None:
    for name, flag in (("z.tar.gz", "-z"), ("j.tar.bz2", "-j"), ("p.tar", "")):
        subprocess.run(["tar", "-C", context, *filter(None, [flag]), "-cf", context / name, "dir"], check=True)
    build("FROM busybox\nADD z.tar.gz /z\nADD j.tar.bz2 /j/\nADD p.tar /p\nADD a.txt /a\nCOPY p.tar /copied\n")
    assert run(daemon, "cat", "/z/dir/d", "/j/dir/sub/s", "/p/dir/d", "/a").split() == ["d", "s", "d", "a"]
    assert run(daemon, "sh", "-c", "test -f /copied && echo file") == "file"


def test_what_dockerignore_names_is_not_there(daemon: Daemon, build: Build, context: Path) -> None:
    (context / ".dockerignore").write_text("# no\ndir\n!dir/sub\n*.txt\n")
    build("FROM busybox\nCOPY . /c\n")
    assert run(daemon, "sh", "-c", "cd /c && find . -type f | sort").split() == [
        "./.dockerignore", "./Dockerfile", "./dir/sub/s",
    ]  # fmt: skip
    failed = build("FROM busybox\nCOPY a.txt /\n", check=False)
    assert failed.returncode == 1
    assert "COPY failed: file not found in build context or excluded by .dockerignore: stat a.txt" in failed.stderr


def test_a_command_that_fails_ends_the_build_with_its_code(daemon: Daemon, build: Build) -> None:
    failed = build("FROM busybox\nRUN echo before; exit 3\nRUN echo never\n", check=False)
    assert failed.returncode == 3
    assert "before" in failed.stdout
    assert "never" not in failed.stdout
    assert "The command '/bin/sh -c echo before; exit 3' returned a non-zero code: 3" in failed.stderr
    left = daemon.out("ps", "-aq").split()  # for people to look at, as Docker leaves it
    assert len(left) == 1
    daemon.docker("rm", left[0])
    build("FROM busybox\nRUN exit 3\n", "--force-rm", check=False)
    assert daemon.out("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("dockerfile", "text"),
    [
        ("FROM busybox\nRUNN true\n", "unknown instruction: RUNN"),
        ("", "the Dockerfile cannot be empty"),
        ("FROM busybox\nCOPY nope /\n", "stat nope: file does not exist"),
        ("FROM busybox\nCOPY a.txt dir /x\n", "must be a directory and end with a /"),
        ("FROM busybox\nRUN --mount=type=ssh,required=true true\n", 'no SSH key "default" forwarded from the client'),
        ("FROM busybox\nRUN --mount=type=bind,source=nope,target=/m true\n", '"/nope": not found'),
        ("FROM busybox\nRUN --security=insecure true\n", "security.insecure is not allowed"),
        (
            "FROM busybox\n\nADD git@h.invalid:x/y.git /\n",
            "git over ssh needs an agent of the client's, and it forwards none",
        ),
        ("FROM busybox\nCOPY --chown=nobodyhere a.txt /\n", "unable to find user nobodyhere"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(build: Build, dockerfile: str, text: str) -> None:
    failed = build(dockerfile, check=False)
    assert failed.returncode == 1
    assert text in failed.stderr


def test_a_build_whose_client_goes_away_leaves_nothing(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo going; sleep 1000\n")
    argv = [docker_cli(), "-H", daemon.host, "build", "-t", "gone:1", str(context)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=daemon.environment) as client:
        assert client.stdout is not None
        for line in client.stdout:
            if line == "going\n":
                break
        client.terminate()
    wait_until(lambda: daemon.out("ps", "-aq") == "")
    assert daemon.out("images", "-q", "gone") == ""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_processes_that_a_step_leaves_behind_die_with_it(daemon: Daemon, build: Build) -> None:
    marker = f"{os.getpid()}{time.time_ns()}"[-12:]
    build(f"FROM busybox\nRUN sleep {marker} & ps | grep [s]leep > /seen\n")
    assert marker in run(daemon, "cat", "/seen")
    wait_until(lambda: not sleeping(marker))
    assert daemon.out("ps", "-aq") == ""


def sleeping(marker: str) -> bool:
    """Whether a process of the whole machine has this argument."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if marker.encode() in path.read_bytes().split(b"\0"):
                return True
    return False


def test_limits_hosts_and_networks_are_those_of_the_request(daemon: Daemon, build: Build) -> None:
    output = build(
        "FROM busybox\nRUN cat /etc/hosts; ls /sys/class/net; cat /sys/fs/cgroup/memory/memory.limit_in_bytes "
        "2>/dev/null || cat /sys/fs/cgroup/memory.max\n",
        "--add-host", "there:192.0.2.7", "--network", "none", "--memory", "64m",
    ).stdout  # fmt: skip
    assert re.search(r"192\.0\.2\.7\s+there", output)
    assert re.search(r"^lo$", output, re.MULTILINE)
    assert "eth0" not in output
    assert "67108864" in output


def test_what_a_step_may_see_of_the_network_is_part_of_its_cache_key(build: Build) -> None:
    dockerfile = "FROM busybox\nRUN cat /etc/hosts; ls /sys/class/net\n"
    asked = ((), ("--add-host", "there:192.0.2.7"), ("--add-host", "there:192.0.2.8"), ("--network", "none"))
    for flags in asked:
        output = build(dockerfile, *flags).stdout
        assert "Using cache" not in output
        assert "Using cache" in build(dockerfile, *flags).stdout
    assert "Using cache" in build(dockerfile, "--network", "bridge").stdout  # which is the default


def test_arguments_and_labels_reach_the_image(daemon: Daemon, build: Build) -> None:
    build(
        "FROM busybox\nARG WHO=nobody\nENV HELLO=$WHO\nRUN echo $WHO > /who\n",
        "--build-arg", "WHO=world", "--label", "a=b",
    )  # fmt: skip
    config = daemon.inspect("t:1")["Config"]
    assert "HELLO=world" in config["Env"]
    assert config["Labels"]["a"] == "b"
    assert run(daemon, "cat", "/who") == "world"


def test_the_history_tells_each_step(daemon: Daemon, build: Build) -> None:
    build("FROM busybox\nCOPY a.txt /\nENV X=y\nRUN echo 1 > /one\n")
    rows = [
        line.split("\t")
        for line in daemon.out("history", "--no-trunc", "--format", "{{.CreatedBy}}\t{{.Size}}", "t:1").splitlines()
    ]
    assert [row[0] for row in rows[:3]] == [
        "RUN /bin/sh -c echo 1 > /one # buildkit", "ENV X=y", "COPY a.txt / # buildkit",
    ]  # fmt: skip
    assert [row[1] for row in rows[:3]] == ["2B", "0B", "2B"]


def test_with_a_fixed_time_the_same_input_gives_the_same_image_twice(daemon: Daemon, build: Build) -> None:
    dockerfile = "FROM busybox\nWORKDIR /new\nCOPY . /c\nRUN echo x > /made\n"
    ids = []
    for _ in range(2):
        build(dockerfile, "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000")
        ids.append(daemon.inspect("t:1")["Id"])
    assert ids[0] == ids[1]
    assert daemon.inspect("t:1")["Created"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("client", "code", "why"),
    [
        ("docker", 127, "returned a non-zero code: 127"),
        ("corten", 1, "did not complete successfully: exit code: 127"),
    ],
)
def test_quiet_builds_that_fail_tell_what_was_said(
    daemon: Daemon, tmp_path: Path, client: str, code: int, why: str
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo wh''y; nosuchcommand\n")
    result = getattr(daemon, client)("build", "-q", "--force-rm", str(tmp_path), check=False)
    assert result.returncode == code
    assert result.stdout == ""
    assert re.search(r"\bwhy$", result.stderr, re.MULTILINE)
    assert why in result.stderr


@pytest.mark.parametrize("step", ["COPY nothing /", "COPY --link nothing /", "ADD http://127.0.0.1:1/x /"])
def test_a_quiet_build_that_fails_without_a_word_tells_its_steps(daemon: Daemon, tmp_path: Path, step: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\nENV A=1\n{step}\nRUN true\n")
    result = daemon.docker("build", "-q", str(tmp_path), check=False)
    assert result.returncode == 1
    assert re.findall(r"^Step .*", result.stderr, re.MULTILINE) == [
        "Step 1/4 : FROM busybox", "Step 2/4 : ENV A=1", f"Step 3/4 : {step}",
    ]  # fmt: skip


def test_quiet_builds_print_the_id_alone(daemon: Daemon, build: Build) -> None:
    output = build("FROM busybox\nRUN echo said\n", "-q").stdout
    assert output.strip() == daemon.inspect("t:1")["Id"]


def test_an_image_from_scratch_runs(daemon: Daemon, build: Build, context: Path) -> None:
    tool = shutil.which("busybox")
    assert tool is not None
    shutil.copy(tool, context / "busybox")
    build('FROM scratch\nCOPY busybox /bin/\nENTRYPOINT ["/bin/busybox"]\n')
    assert run(daemon, "echo", "up") == "up"
    assert len(daemon.inspect("t:1")["RootFS"]["Layers"]) == 1


def test_builds_run_beside_each_other(daemon: Daemon, tmp_path: Path) -> None:
    failures: list[object] = []

    def one(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "Dockerfile").write_text(f"FROM busybox\nRUN echo same > /f\nRUN echo {number} > /n\n")
        try:
            daemon.docker("build", "-t", f"many:{number}", str(folder))
        except AssertionError as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [run(daemon, "cat", "/n", image=f"many:{number}") for number in range(4)] == ["0", "1", "2", "3"]
    layers = [daemon.inspect(f"many:{number}")["RootFS"]["Layers"][1] for number in range(4)]
    assert len(set(layers)) == 1


def test_the_cache_outlives_images_until_it_is_pruned(daemon: Daemon, build: Build) -> None:
    dockerfile = "FROM busybox\nRUN head -c 100000 /dev/zero > /big\n"
    build(dockerfile)
    daemon.docker("rmi", "t:1")
    assert "Running in" not in build(dockerfile).stdout
    usage = json.loads(daemon.out("system", "df", "--format", "{{json .}}").splitlines()[-1])
    assert usage["Type"] == "Build Cache"
    daemon.docker("rmi", "t:1")
    before = len(layers_of(daemon))
    assert "Total reclaimed space" in daemon.out("builder", "prune", "-f", "-a")
    assert len(layers_of(daemon)) < before
    assert "Running in" in build(dockerfile).stdout


def layers_of(daemon: Daemon) -> list[str]:
    return [path.name for path in (daemon.data_root / "content/blobs/sha256").iterdir()]


def test_buildkits_endpoints_say_what_to_do(daemon: Daemon, build: Build) -> None:
    failed = daemon.docker("build", "-", input="FROM busybox\n", check=False)
    assert failed.returncode == 0, failed.stderr
    environment = daemon.environment.pop("DOCKER_BUILDKIT")
    try:
        assert "Successfully built" in build("FROM busybox\nRUN true\n").stdout  # `_ping` names the classic builder
    finally:
        daemon.environment["DOCKER_BUILDKIT"] = environment
