"""Builds of people who mean harm: links that lead out, mounts in wrong places, processes that stay, fork bombs, a disk
that is filled. Each fails or ends with a sentence, leaves nothing, and the next build works."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.steps import disk_usage
from tests.faults.test_builds_and_daemon_death import left_of, settled
from tests.faults.test_full_disk import engine as small
from tests.lab import images
from tests.lab.built import said
from tests.lab.daemon import Daemon, running_daemon

__all__ = ["small"]
BIND, TMPFS = "--mount=type=bind", "--mount=type=tmpfs"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


def build(daemon: Daemon, context: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    (context / "Dockerfile").write_text(text if text.startswith("#") else "FROM busybox\n" + text)
    since = f"{time.time():.6f}"
    done = daemon.corten("build", "-t", "t:1", "--force-rm", *flags, str(context), check=False)
    assert settled(daemon) == []
    made = events_of(daemon, since)
    is_cached = "Using cache" in done.stdout or "CACHED" in done.stderr
    assert made or done.returncode or "RUN" not in text or is_cached
    deadline = time.monotonic() + 30
    while kept := kept_of(daemon, made):
        assert time.monotonic() < deadline, kept
        time.sleep(0.05)
    assert daemon.out("network", "inspect", "bridge", "--format", "{{len .Containers}}") == "0"
    return done


def events_of(daemon: Daemon, since: str) -> list[str]:
    """The containers that were made since then."""
    only = ("--filter", "type=container", "--filter", "event=create", "--format", "{{.Actor.ID}}")
    return daemon.out("events", "--since", since, "--until", f"{time.time():.6f}", *only).split()


def kept_of(daemon: Daemon, containers: list[str]) -> list[str]:
    """Groups, directories, namespaces and sockets of containers that are gone."""
    found = [
        *daemon.cgroups(),
        *map(str, daemon.exec_root.glob("*/*")),
        *map(str, daemon.data_root.glob("containers/*")),
    ]
    return [path for path in found if any(Path(path).name.startswith(cid) for cid in containers)]


def built(daemon: Daemon, context: Path, text: str, *flags: str) -> str:
    done = build(daemon, context, text, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    return said(done)


def refused(daemon: Daemon, context: Path, text: str, *flags: str) -> str:
    done = build(daemon, context, text, *flags)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_links_of_the_context_lead_nowhere_but_into_it(daemon: Daemon, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host\n")
    context = tmp_path / "context"
    (context / "d").mkdir(parents=True)
    (context / "d/x").write_text("x\n")
    for name, target in (
        ("file", secret),
        ("up", "../secret"),
        ("top", "/"),
        ("self", "self"),
        ("d/self", "../d/self"),
    ):
        (context / name).symlink_to(target)
    for source in ("file", "up", "top/../secret", f"top{secret}"):
        assert "of the host" not in (words := refused(daemon, context, f"COPY {source} /x\nRUN cat /x\n"))
        assert "not found" in words or "no such file" in words.lower(), words
        refused(daemon, context, f"RUN {BIND},source={source},target=/x cat /x\n")
    assert "x\n" in built(daemon, context, "COPY */x /y/\nRUN cat /y/x\n")  # a link to itself is no directory
    assert "too many" in refused(daemon, context, "COPY self /x\n").lower()


def test_targets_of_mounts_stay_in_the_step(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "shown").write_text("shown\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    text = f"RUN mkdir -p {outside} && ln -s {outside} /l && ln -s ../../../../.. /up && ln -s /proc /p && ln -s nowhere /gone\n"
    for target in ("/l/made", "/up/made", "/gone", "/up/../up/a/b"):
        run = f"RUN {BIND},target={target} cat {target}/shown\nRUN test ! -e {target}/shown\n"
        assert "shown\n" in built(daemon, tmp_path, text + run)
    assert list(outside.iterdir()) == []
    for target in ("/p", "/p/sys", "/p/self/attr"):
        for mount in (BIND, TMPFS):
            assert "inside /proc" in refused(daemon, tmp_path, text + f"RUN {mount},target={target} true\n")


def test_the_kernels_directories_are_no_place_for_mounts(daemon: Daemon, tmp_path: Path) -> None:
    for target in ("/proc", "/proc/sys", "//proc/../proc/x"):
        words = refused(daemon, tmp_path, f"RUN true\nRUN {TMPFS},target={target} true\n")
        assert "nothing can be mounted at or below /proc" in words
        assert ">>> RUN --mount" in words
    assert "only a tmpfs can take its place" in refused(daemon, tmp_path, f"RUN {BIND},target=/dev true\n")
    assert "read-only file system" in refused(daemon, tmp_path, f"RUN {TMPFS},target=/sys/x true\n").lower()
    for target in ("/dev", "/dev/x", "/dev/shm", "/sys", "/sys/kernel"):
        built(daemon, tmp_path, f"RUN {TMPFS},target={target} grep ' {target} tmpfs' /proc/mounts\n")


def test_a_tmpfs_is_for_everybody_and_for_programs(daemon: Daemon, tmp_path: Path) -> None:
    run = f"USER 12345\nRUN {TMPFS},target=/t cp /bin/busybox /t/true && /t/true && grep ' /t tmpfs rw,nosuid,relatime' /proc/mounts\n"
    built(daemon, tmp_path, run)


@pytest.mark.parametrize("kind", [BIND, TMPFS])
def test_a_step_has_as_many_mounts_as_it_likes(daemon: Daemon, tmp_path: Path, kind: str) -> None:
    mounts = " ".join(f"{kind},target=/m/{number}" for number in range(300))
    assert "300\n" in built(daemon, tmp_path, f"RUN {mounts} grep -c ' /m/' /proc/mounts\n")


def test_what_a_step_leaves_running_dies_with_it(daemon: Daemon, tmp_path: Path) -> None:
    marker = "987654"
    text = (
        f"RUN setsid sh -c 'trap \"\" HUP INT TERM; (setsid sleep {marker} &) & while :; do sleep {marker}; done' & echo one\n"
        f"RUN (sh -c 'exec sleep {marker} >/dev/null 2>&1' &) ; nohup sleep {marker} & echo two\n"
    )
    words = built(daemon, tmp_path, text)
    assert "one\n" in words
    assert "two\n" in words
    running = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _reads(path, marker)]
    assert running == []


def _reads(path: Path, word: str) -> bool:
    try:
        return word in path.read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended
        return False


def test_a_fork_bomb_is_limited_and_ends_with_its_step(daemon: Daemon, tmp_path: Path) -> None:
    limit = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null"
    assert "32768\n" in built(daemon, tmp_path, f"RUN {limit} || true\n")
    # at the limit that the kernel counts for one user, for the sake of the machine
    bomb = "USER 54321\nRUN b() { b | b & }; b; b; b; exec sh -c 'exit 3'\n"
    words = refused(daemon, tmp_path, bomb, "--ulimit", "nproc=60", "--network", "none")
    assert "exec sh -c" in words
    owners = [path for path in Path("/proc").glob("[0-9]*") if _owner(path) == 54321]
    assert owners == []
    built(daemon, tmp_path, "RUN true\n")


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return -1


@pytest.mark.parametrize(
    "text",
    [
        "# syntax=evil.example/frontend:1\nFROM scratch\n",
        "# syntax=docker/dockerfile-evil\nFROM scratch\n",
        "# syntax=evil/docker/dockerfile\nFROM scratch\n",
        "# syntax=docker.io.evil.example/docker/dockerfile\nFROM scratch\n",
        "#!/bin/sh\n# syntax=localhost:1/docker/dockerfile\nFROM scratch\n",
    ],
)
def test_other_frontends_are_neither_fetched_nor_run(daemon: Daemon, tmp_path: Path, text: str) -> None:
    before = daemon.out("images", "-aq")
    assert "of the syntax directive is not supported" in refused(daemon, tmp_path, text)
    assert "is not supported" in refused(daemon, tmp_path, "RUN true\n", "--build-arg", "BUILDKIT_SYNTAX=evil/x")
    assert daemon.out("images", "-aq") == before


def content_bytes(daemon: Daemon) -> int:
    """How much is stored, without the database, whose journal grows, and directories."""
    rows = {row["Type"]: row["Size"] for row in disk_usage(daemon)}
    return sum(size for kind, size in rows.items() if kind not in ("Database", "Directories and other files"))


@pytest.mark.parametrize(
    "text",
    [
        "RUN cat /dev/urandom > /large\n",
        "RUN cat /dev/urandom > /large || true\n",  # what cannot become a layer
        "RUN --mount=type=bind,target=/m,rw cat /m/part /dev/urandom > /m/large\n",
        "RUN --mount=type=cache,target=/c cat /dev/urandom > /c/large\n",
        "COPY part /a\nCOPY part /b\n",
    ],
)
def test_a_build_that_fills_the_disk_fails_and_makes_room_again(small: Daemon, tmp_path: Path, text: str) -> None:
    small.start()
    small.docker("load", "-i", str(images.busybox()))
    before = content_bytes(small)
    (tmp_path / "part").write_bytes(os.urandom(12 << 20))
    (tmp_path / "Dockerfile").write_text("FROM busybox\n" + text)
    done = small.corten("build", "-t", "t:1", "--force-rm", str(tmp_path), check=False)
    assert done.returncode == 1, done.stdout
    assert "no space left on device" in (done.stdout + done.stderr).lower(), done.stderr
    small.docker("builder", "prune", "-a", "-f")
    assert [what for what in left_of(small) if " ext4 " not in what] == []
    deadline = time.monotonic() + 30  # what was given up is deleted later
    while content_bytes(small) > before + (64 << 10):  # some directories have grown
        assert time.monotonic() < deadline, "\n".join(map(str, disk_usage(small)))
        time.sleep(0.05)
    (tmp_path / "part").unlink()
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo fine > /f\nCOPY Dockerfile /\n")
    assert small.corten("build", "-t", "t:1", str(tmp_path)).returncode == 0
