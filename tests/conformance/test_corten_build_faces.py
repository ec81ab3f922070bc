"""`corten build` for people and programs: progress in all its forms, a shell where a step failed, calls, files, Python."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from tests.lab import images
from tests.lab.daemon import REPOSITORY, Daemon, running_daemon
from tests.lab.peers import Dockerd
from tests.lab.terminal import corten_in_terminal

Build = Callable[..., "subprocess.CompletedProcess[str]"]
SEVERAL = """\
FROM busybox AS one
RUN echo hello >&2
COPY a.txt /
FROM busybox AS two
RUN echo two
FROM two
COPY --from=one /a.txt /b.txt
RUN echo end
"""
FAILING = """\
FROM busybox
ENV WHO=me
WORKDIR /work
RUN --mount=type=cache,target=/cache --mount=type=bind,target=/ctx \\
    touch left /cache/kept; echo said; exit 3
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    root.mkdir()
    (root / "a.txt").write_text("a\n")
    return root


@pytest.fixture
def build(daemon: Daemon, context: Path) -> Build:
    def run(dockerfile: str, *flags: str, **options: Any) -> subprocess.CompletedProcess[str]:
        (context / "Dockerfile").write_text(dockerfile)
        return daemon.corten("build", "--network", "none", *flags, str(context), check=False, **options)

    return run


def left(daemon: Daemon) -> list[str]:
    """What builds have left, when the daemon has had time to remove it."""
    deadline = time.monotonic() + 30
    while (found := _left(daemon)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _left(daemon: Daemon) -> list[str]:
    homes = [str(path) for path in (daemon.exec_root / "build").glob("*")]
    return [*homes, *daemon.out("ps", "-aq").split()]


# -- progress


def test_plain_progress_has_the_structure_of_buildxs(build: Build, context: Path) -> None:
    """The same build by Docker 26 with BuildKit: the same steps say the same, and end the same."""
    shared = Path(tempfile.mkdtemp(prefix="corten-builds-", dir="/var/tmp"))
    engine = Dockerd(shared)
    try:
        (shared / "busybox.tar").write_bytes(images.busybox().read_bytes())
        (shared / "context").mkdir()
        (shared / "context/a.txt").write_text("a\n")
        engine.wait()
        docker = ["env", "DOCKER_BUILDKIT=1", "HOME=/lab-shared", "docker", "-H", "unix:///lab-shared/docker.sock"]

        def peer(*arguments: str) -> subprocess.CompletedProcess[str]:
            argv = engine.inside(*docker, *arguments)
            return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)

        assert peer("load", "-i", "/lab-shared/busybox.tar").returncode == 0
        failing = "FROM busybox\nRUN echo fine\nRUN echo said; exit 3\n"
        for text, again in ((SEVERAL, False), (SEVERAL, True), (failing, False)):
            (shared / "context/Dockerfile").write_text(text)
            flags = ["--progress=plain", "-t", "compared:1", *([] if again else ["--no-cache"])]
            theirs = peer("build", "--network", "none", *flags, "/lab-shared/context")
            ours = build(text, *flags)
            assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
            assert _shape(ours.stderr) == _shape(theirs.stderr), f"{ours.stderr}\n{theirs.stderr}"
    finally:
        engine.stop()
        subprocess.run(["rm", "-rf", "--one-file-system", str(shared)], check=True)


def _shape(text: str) -> tuple[dict[str, list[str]], str]:
    """What each step of the Dockerfile says, and all that stands behind the steps. A base image that two stages begin
    with is named after either of them by BuildKit."""
    steps, bar, tail = text.partition("------\n")
    names: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for number, rest in re.findall(r"(?m)^#(\d+) (.*)$", steps):
        name = names.setdefault(number, rest)
        if name.startswith("exporting") and not re.search("(?i)done", rest):
            continue  # one that took long enough to be told twice
        is_shown = not name.startswith("[internal]") and "] FROM " not in name and number != "0"
        if is_shown and rest not in (name, "..."):
            found.setdefault(name, []).append(_steady(rest))
    return {name: list(dict.fromkeys(rest)) for name, rest in found.items()}, _steady(bar + tail).rstrip("\n")


def _steady(text: str) -> str:
    text = re.sub(r"sha256:[0-9a-f]+", "DIGEST", text)
    text = re.sub(r"\b(CACHED|DONE \d+\.\d+s)", "OVER", text)  # a base image is one or the other
    return re.sub(r"(?m)^\d+\.\d+ | \d+\.\d+s(?= done)", "", text)


def test_raw_json_is_a_status_a_line(build: Build) -> None:
    built = build("FROM busybox\nRUN echo raw\n", "--progress=rawjson", "--no-cache")
    assert (built.returncode, built.stdout) == (0, "")
    messages = [json.loads(line) for line in built.stderr.splitlines()]
    assert all(set(message) <= {"vertexes", "statuses", "logs", "warnings"} for message in messages)
    ends = {v["name"] for m in messages for v in m.get("vertexes", ()) if v.get("completed")}
    assert "[2/2] RUN echo raw" in ends
    assert [log["data"] for message in messages for log in message.get("logs", ())] == ["cmF3Cg=="]


@pytest.mark.parametrize("flags", [["--progress=quiet"], ["--progress=none"], ["-q"]])
def test_silent_builds_say_nothing_but_errors(build: Build, flags: list[str]) -> None:
    built = build("FROM busybox\nRUN echo silent\nMAINTAINER me\n", *flags)
    assert (built.returncode, built.stderr) == (0, "")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n" if flags == ["-q"] else "", built.stdout)
    failed = build("FROM busybox\nRUN exit 1\n", *flags)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines()[-1].startswith("ERROR: failed to solve: process ")


def test_the_environment_chooses_the_progress(daemon: Daemon, build: Build) -> None:
    daemon.environment["BUILDKIT_PROGRESS"] = "quiet"
    try:
        assert build("FROM busybox\n").stderr == ""
        assert "#1 DONE" in build("FROM busybox\n", "--progress=plain").stderr
    finally:
        del daemon.environment["BUILDKIT_PROGRESS"]


def test_a_terminal_shows_steps_in_place_with_their_last_lines(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo 第一行; sleep 1; echo later; sleep 1\n")
    client = corten_in_terminal(
        daemon, "build", "--no-cache", "--network", "none", "-t", "seen:1", str(context), rows=20, columns=70
    )
    client.expect(r"=> => # 第一行")
    client.setwinsize(20, 60)
    client.expect(r"=> => # later")
    client.expect(pexpect.EOF)
    client.close()
    assert client.exitstatus == 0
    last = client.before.rpartition("[+] Building")[2]
    assert re.match(r" \d+\.\ds \(5/5\) FINISHED", last)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).splitlines()
    assert any(line.startswith(" => [2/2] RUN echo 第一行") for line in lines)
    assert not any("# later" in line for line in lines)
    assert client.before.endswith("\x1b[?25h")


def test_ctrl_c_ends_the_build_and_leaves_the_terminal_as_it_was(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 1000\n")
    client = corten_in_terminal(daemon, "build", "--no-cache", "--network", "none", str(context))
    client.expect("# begun")
    client.sendintr()
    client.expect(pexpect.EOF)
    client.close()
    assert client.exitstatus == 130
    assert client.before.rindex("\x1b[?25h") > client.before.rindex("\x1b[?25l")
    assert left(daemon) == []


# -- --debug


def test_a_shell_opens_where_a_step_failed_and_nothing_of_it_stays(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text(FAILING)
    client = corten_in_terminal(
        daemon, "build", "--no-cache", "--network", "none", "--debug", "-t", "never:1", str(context)
    )
    client.expect(r"exit 3:\r\n\d\.\d+ said\r\n------")
    client.expect(r"   5 \| >>>     touch left")
    client.expect(r"`exit` ends it")
    client.expect("/work # ")
    client.sendline("ls; ls /cache /ctx; echo WHO=$WHO; touch more; exit 7")
    client.expect(r"left\s+/cache:\s+kept\s+/ctx:\s+Dockerfile\s+a.txt\s+WHO=me")
    client.expect(r"ERROR: failed to solve: process .* did not complete successfully: exit code: 3\r\n")
    client.expect(pexpect.EOF)
    client.close()
    assert client.exitstatus == 1
    assert left(daemon) == []
    assert daemon.out("images", "-q", "never") == ""


def test_a_shell_opens_where_a_copy_should_have_gone(daemon: Daemon, context: Path) -> None:
    below = "FROM busybox\nRUN echo made > /made\nENV WHO=me\nWORKDIR /work\n"
    (context / "Dockerfile").write_text(below)
    daemon.corten("build", "--network", "none", str(context))
    for instruction in ("COPY absent /x", "COPY --link absent /x", "COPY a.txt /etc/passwd/y/"):
        (context / "Dockerfile").write_text(f"{below}{instruction}\nRUN true\n")
        client = corten_in_terminal(daemon, "build", "--network", "none", "--debug", "-t", "never:1", str(context))
        client.expect("`exit` ends it")
        client.expect("/work # ")
        client.sendline("cat /made; echo WHO=$WHO; exit 7")
        client.expect(r"made\s+WHO=me")
        client.expect("ERROR: failed to solve: ")
        client.expect(pexpect.EOF)
        client.close()
        assert client.exitstatus == 1
        assert left(daemon) == []


def test_a_shell_ends_with_its_client(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text(FAILING)
    client = corten_in_terminal(daemon, "build", "--network", "none", "-D", "--progress=plain", str(context))
    client.expect("/work # ")
    assert len(daemon.out("ps", "-q").split()) == 1
    client.kill(signal.SIGKILL)
    client.close()
    assert left(daemon) == []


def test_a_kept_step_goes_when_nobody_opens_the_shell(daemon: Daemon, context: Path) -> None:
    """A client that asks for it and never starts the container: it is removed, and the build ends."""
    client = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(REPOSITORY / "src"), daemon.host],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert client.stdout is not None
    container = client.stdout.readline().strip()
    assert daemon.inspect(container)["State"]["Status"] == "created"
    daemon.docker("rm", "-f", container)
    output, _ = client.communicate(timeout=60)
    assert "exit code: 3" in output
    assert left(daemon) == []


KEEPER = r"""
import io, sys, tarfile
sys.path.insert(0, sys.argv[1])
from corten.client.address import parse_address
from corten.client.api import Client
data = io.BytesIO()
with tarfile.open(fileobj=data, mode="w") as tar:
    info = tarfile.TarInfo("Dockerfile")
    text = b"FROM busybox\nRUN exit 3\n"
    info.size = len(text)
    tar.addfile(info, io.BytesIO(text))
query = {"progress": "status", "keepfailed": "1", "forcerm": "1", "networkmode": "none"}
for message in Client(parse_address(sys.argv[2])).messages("POST", "/build", query=query, data=data.getvalue()):
    shell = (message.get("aux") or {}).get("Shell")
    print(shell["Container"] if shell else message.get("error") or "", end="\n" if shell or message.get("error") else "", flush=True)
"""


def test_without_a_terminal_debug_says_what_it_would_need(daemon: Daemon, build: Build) -> None:
    failed = build("FROM busybox\nRUN exit 3\n", "--debug")
    assert failed.returncode == 1
    assert "--debug opens a shell in the failed step's file system when standard input and output are a terminal" in (
        failed.stderr
    )
    assert left(daemon) == []


# -- results


def test_stages_can_be_built_afresh(build: Build) -> None:
    text = SEVERAL.replace("echo hello", "cat /proc/sys/kernel/random/uuid > /id; echo hello")
    build(text)
    assert re.findall(r"(?m)^#\d+ CACHED", build(text).stderr) != []
    afresh = build(text, "--no-cache-filter", "ONE").stderr
    steps, _ = _shape(afresh.replace("CACHED", "KNOWN"))
    assert steps["[one 2/3] RUN cat /proc/sys/kernel/random/uuid > /id; echo hello >&2"] == ["hello", "OVER"]
    assert steps["[two 2/2] RUN echo two"] == ["KNOWN"]
    assert steps["[stage-2 1/2] COPY --from=one /a.txt /b.txt"] == ["KNOWN"]  # the same content came out
    assert steps["[stage-2 2/2] RUN echo end"] == ["KNOWN"]


def test_files_tell_of_the_result(daemon: Daemon, build: Build, tmp_path: Path) -> None:
    iid, metadata = tmp_path / "iid", tmp_path / "metadata.json"
    built = build(
        "FROM busybox\n", "-t", "told:1", "-t", "reg.example/x:2", f"--iidfile={iid}", f"--metadata-file={metadata}"
    )
    assert built.returncode == 0, built.stderr
    found = daemon.inspect("told:1")["Id"]
    assert iid.read_text() == found
    told = json.loads(metadata.read_text())
    assert list(told) == sorted(told)
    assert told["containerimage.config.digest"] == found
    assert told["containerimage.digest"] == told["containerimage.descriptor"]["digest"]
    assert told["image.name"] == "docker.io/library/told:1,reg.example/x:2"


def test_calls_answer_on_standard_output_and_build_nothing(daemon: Daemon, build: Build) -> None:
    text = "# A is an argument\nARG A=1\n# last is the last\nFROM nowhere.invalid/none:$A AS last\nRUN exit 1\n"
    targets = build(text, "--call=targets")
    assert (targets.returncode, targets.stdout) == (0, "TARGET         DESCRIPTION\nlast (default) is the last\n")
    outline = build(text, "--call=outline", "--build-arg", "A=2", "-t", "never:2")
    assert outline.stdout == (
        "TARGET:      last\nDESCRIPTION: is the last\n\nBUILD ARG   VALUE   DESCRIPTION\nA           2       is an argument\n\n"
    )
    document = json.loads(build(text, "--call=outline,format=json", "-q").stdout)
    assert document["args"][0]["name"] == "A"
    checked = build("FROM busybox\nMAINTAINER me\n", "--call=check,format=json")
    assert checked.returncode == 1
    assert [found["ruleName"] for found in json.loads(checked.stdout)["warnings"]] == ["MaintainerDeprecated"]
    assert daemon.out("images", "-q", "never") == ""


def test_the_cache_is_shown_and_pruned(daemon: Daemon, build: Build) -> None:
    build("FROM busybox\nRUN head -c 54321 /dev/zero > /counted\n", "-o", "type=tar,dest=/dev/null")
    table = daemon.corten("builder", "du").stdout.splitlines()
    assert table[0] == "ID\t\t\t\t\t\tRECLAIMABLE\tSIZE\t\tLAST ACCESSED"
    (row,) = (line for line in table if "54.3kB" in line)
    found = row.split()[0]
    details = daemon.corten("buildx", "du", "--verbose", "--filter", f"id={found}").stdout
    assert "Description:\tRUN head -c 54321 /dev/zero > /counted\n" in details
    assert details.endswith("Reclaimable:\t54.3kB\nTotal:\t\t54.3kB\n")
    assert found[:12] in daemon.corten("system", "df", "-v").stdout
    assert found in daemon.corten("buildx", "prune", "-f").stdout
    assert found not in daemon.corten("builder", "du").stdout
    refused = daemon.corten("builder", "du", "--filter", "mutable=true", check=False)
    assert (refused.returncode, "is not supported" in refused.stderr) == (1, True)


# -- from Python


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import corten
assert not [name for name in sys.modules if name.startswith("corten.")]
host, path = sys.argv[2:]
steps = []
result = corten.build(
    path, host=host, tag=["api:1", "api:2"], buildargs={"A": "1,2"}, labels={"l": "x"}, target="end", network="none",
    secrets={"token": b"hidden"}, flags=["--no-cache"],
    on_progress=lambda status: steps.extend(v["name"] for v in status.get("vertexes", ()) if v.get("completed")),
)
print(result.image_id, result.digest, result.metadata["image.name"], result.warnings, any("RUN" in s for s in steps))
corten.build(path, host=host, target="end", outputs=path + "/out", network="none", buildargs={"A": "1,2"})
print(open(path + "/out/made").read(), end="")
try:
    corten.build(path, host=host, target="bad", network="none")
except corten.BuildError as error:
    print(error.lines, error.message)
    print(error.excerpt, end="")
try:
    corten.build(path, host=host, target="none")
except corten.BuildError as error:
    print(error.lines, error.message)
import corten.build.plan
print(corten.build(path, host=host, target="end", network="none", buildargs={"A": "1,2"}).image_id == result.image_id)
"""


def test_python_builds_and_learns_why_a_build_failed(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM busybox AS end\nARG A\nMAINTAINER me\n"
        "RUN --mount=type=secret,id=token echo $A > /made; test ! -e /run/secrets/token || grep -q hidden /run/secrets/token\n"
        "FROM busybox AS bad\nRUN exit 5\n"
    )
    program = [sys.executable, "-I", "-c", PROGRAM, str(REPOSITORY / "src"), daemon.host, str(context)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=120, env=daemon.environment)
    assert (done.returncode, done.stderr) == (0, "")
    first, made, lines, *excerpt, missing, again = done.stdout.splitlines()
    found = daemon.inspect("api:2")
    assert first.split()[0] == found["Id"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", first.split()[1])
    assert "docker.io/library/api:1,docker.io/library/api:2 ('Maintainer instruction is deprecated" in first
    assert first.endswith(" True")
    assert found["Config"]["Labels"] == {"l": "x"}
    assert made == "1,2"
    assert lines == '(6, 6) process "/bin/sh -c exit 5" did not complete successfully: exit code: 5'
    assert excerpt[0] == "Dockerfile:6"
    assert missing == '(0, 0) target stage "none" could not be found'
    assert again == "False"  # the label is missing
