"""RUN --mount through the real client: what steps see, what they may write, and what is left of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon


@pytest.fixture(scope="module", params=["erofs", "overlay2"])
def daemon(request: pytest.FixtureRequest) -> Iterator[Daemon]:
    with running_daemon("--storage-driver", request.param) as engine:
        engine.environment["DOCKER_BUILDKIT"] = "0"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


def build(daemon: Daemon, context: Path, dockerfile: str, *flags: str) -> str:
    (context / "Dockerfile").write_text(dockerfile)
    output = daemon.out("build", "-t", "t:1", *flags, str(context))
    assert not any((daemon.exec_root / "build").glob("*"))
    assert not any((daemon.data_root / "tmp/shown").glob("*"))
    assert str(daemon.exec_root / "build") not in Path("/proc/mounts").read_text()
    return output


def run(daemon: Daemon, *command: str) -> str:
    return daemon.out("run", "--rm", "--network", "none", "t:1", *command)


def test_a_bind_shows_the_context_and_its_changes_are_seen(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/f").write_text("first\n")
    (tmp_path / "other").write_text("1\n")
    dockerfile = "FROM busybox\nRUN --mount=type=bind,source=dir,target=/c cat /c/f; touch /c/x || echo refused\n"
    output = build(daemon, tmp_path, dockerfile)
    assert "first\n" in output
    assert "refused\n" in output
    (tmp_path / "other").write_text("2\n")
    assert "Using cache" in build(daemon, tmp_path, dockerfile)
    (tmp_path / "dir/f").write_text("second\n")
    assert "second\n" in build(daemon, tmp_path, dockerfile)


def test_a_bind_of_the_context_may_be_written_without_a_trace(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/f").write_text("sent\n")
    (tmp_path / "dir/gone").touch()
    (tmp_path / "one").write_text("one\n")
    build(
        daemon, tmp_path,
        "FROM busybox\n"
        "RUN --mount=type=bind,source=dir,target=/m,rw echo x >> /m/f && rm /m/gone && touch /m/new && cp -r /m /first\n"
        "RUN --mount=type=bind,source=dir,target=/m cp -r /m /second\n"
        "RUN --mount=type=bind,source=one,target=/one,rw echo x > /one && cp /one /third\n"
        "RUN --mount=type=bind,source=one,target=/one cp /one /fourth\n",
    )  # fmt: skip
    assert run(daemon, "sh", "-c", "cat /first/f /second/f /third /fourth; ls /first /second").split() == [
        "sent", "x", "sent", "x", "one", "/first:", "f", "new", "/second:", "f", "gone",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "dir").iterdir()) == ["f", "gone"]
    assert (tmp_path / "one").read_text() == "one\n"


def test_a_bind_has_what_the_context_has_and_no_more(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/f").write_text("f\n")
    (tmp_path / "a/b/program").write_text("#!/bin/sh\necho it ran\n")
    (tmp_path / "a/b/program").chmod(0o4755)
    (tmp_path / "a/ignored").touch()
    (tmp_path / "a/link").symlink_to("/etc/passwd")
    (tmp_path / "a/inner").symlink_to("b")
    (tmp_path / ".dockerignore").write_text("a/ignored\n")
    output = build(
        daemon, tmp_path,
        "FROM busybox\n"
        "RUN --mount=type=bind,target=/c find /c/a | sort; /c/a/b/program; stat -c 'mode %a %u %g' /c/a/b/program\n"
        "RUN --mount=type=bind,source=a/inner,target=/d ls /d; readlink /proc/self/root; grep ' /d ' /proc/mounts\n",
    )  # fmt: skip
    assert "/c/a\n/c/a/b\n/c/a/b/f\n/c/a/b/program\n/c/a/inner\n/c/a/link\nit ran\nmode 4755 0 0\n" in output
    assert "f\nprogram\n" in output
    kind = next(line.split()[2] for line in output.splitlines() if " /d " in line and "RUN" not in line)
    assert kind == "erofs" if "erofs" in daemon.out("info", "-f", "{{.Driver}}") else kind != "erofs"


def test_a_bind_of_what_is_not_there_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=bind,source=absent,target=/c true\n")
    done = daemon.docker("build", str(tmp_path), check=False)
    assert done.returncode == 1
    assert '"/absent": not found' in done.stdout + done.stderr
    assert not any((daemon.exec_root / "build").glob("*"))


def test_a_bind_of_a_stage_may_be_written_without_a_trace(daemon: Daemon, tmp_path: Path) -> None:
    build(
        daemon, tmp_path,
        "FROM busybox AS made\nRUN echo made > /made\n"
        "FROM busybox\n"
        "RUN --mount=type=bind,from=made,target=/m,rw echo x > /m/made && cp /m/made /copied\n"
        "RUN --mount=type=bind,from=made,source=/made,target=/file cp /file /again\n",
    )  # fmt: skip
    assert run(daemon, "cat", "/copied", "/again").split() == ["x", "made"]
    assert run(daemon, "ls", "/").split() == [
        "again", "bin", "copied", "dev", "etc", "home", "proc", "root", "sys", "tmp", "var",
    ]  # fmt: skip


def test_a_link_in_a_stage_leads_nowhere_but_into_it(daemon: Daemon, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host\n")
    output = build(
        daemon, tmp_path,
        f"FROM busybox AS evil\nRUN mkdir -p {tmp_path} && echo inner > {secret} && ln -s {tmp_path} /out\n"
        "FROM busybox\nRUN --mount=type=bind,from=evil,source=/out,target=/m cat /m/secret\n"
        "COPY --from=evil /out/secret /copied\n",
    )  # fmt: skip
    assert "inner\n" in output
    assert run(daemon, "cat", "/copied") == "inner"


def test_a_cache_stays_between_builds_until_it_is_pruned(daemon: Daemon, tmp_path: Path) -> None:
    dockerfile = (
        "FROM busybox\nRUN --mount=type=cache,target=/cache/c,mode=0700 echo x >> /cache/c/f; wc -l /cache/c/f\n"
    )
    assert "1 /cache/c/f" in build(daemon, tmp_path, dockerfile)
    assert "2 /cache/c/f" in build(daemon, tmp_path, dockerfile, "--no-cache")
    assert "/cache" not in run(daemon, "find", "/", "-maxdepth", "1")
    assert len(os.listdir(daemon.data_root / "build-mounts")) == 1
    daemon.docker("builder", "prune", "-a", "-f")
    assert os.listdir(daemon.data_root / "build-mounts") == []


def test_scripts_of_the_dockerfile_run_with_their_own_interpreter(daemon: Daemon, tmp_path: Path) -> None:
    output = build(
        daemon, tmp_path,
        "FROM busybox\nRUN <<ONE\necho one\nfalse\necho two\nONE\n"
        "RUN <<TWO\n#!/bin/busybox cat\nthree\nTWO\nCOPY <<f /h/\nfour\nf\n",
    )  # fmt: skip
    assert "one\ntwo\n" in output
    assert "#!/bin/busybox cat\nthree\n" in output
    assert run(daemon, "cat", "/h/f") == "four"


def test_secrets_that_nobody_gave_are_left_out(daemon: Daemon, tmp_path: Path) -> None:
    build(daemon, tmp_path, "FROM busybox\nRUN --mount=type=secret,id=a test ! -e /run/secrets/a\n")
