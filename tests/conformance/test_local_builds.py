"""`corten build` of directories that the engine reads itself: the same images as Docker's client gets with a tar, from
contexts that nobody vouches for, with the rights of whoever asks."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.test_buildx_sessions import holders
from tests.lab import images
from tests.lab.daemon import Daemon, running_daemon

WAIT_S = 30
EVERYTHING = "FROM busybox\nCOPY . /all/\n"
STRANGER = 4321
MANY = 300  # more connections than the daemon takes


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon() as engine:
        engine.environment["DOCKER_BUILDKIT"] = "0"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    root.mkdir()
    (root / "Dockerfile").write_text(EVERYTHING)
    return root


def build(daemon: Daemon, context: Path, *flags: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return daemon.corten("build", "-t", "t:1", *flags, str(context), **options)


def shown(daemon: Daemon, *command: str) -> str:
    return daemon.out("run", "--rm", "--network", "none", "t:1", *command)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def fill(root: Path) -> None:
    """Modes, links, holes, odd names and times."""
    for folder in ("plain", "private/deep", "ignored/kept", "ignored/lost", "empty"):
        (root / folder).mkdir(parents=True)
    (root / "plain/f").write_bytes(b"content\n")
    os.link(root / "plain/f", root / "plain/same")
    (root / "plain/setuid").write_bytes(b"#!/bin/sh\n")
    os.chmod(root / "plain/setuid", 0o4711)
    os.chmod(root / "private", 0o700)
    os.symlink("../plain/f", root / "private/deep/link")
    os.symlink("/etc/passwd", root / "private/absolute")
    os.symlink("nowhere", root / "dangling")
    (root / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"1")
    (root / "größe 😀").write_bytes(b"2")
    (root / ("long" * 60)).write_bytes(b"3")
    for name in ("ignored/kept/yes", "ignored/kept/no.log", "ignored/lost/no", "a.md", "README.md"):
        (root / name).write_bytes(name.encode())
    with open(root / "sparse", "wb") as file:
        file.truncate(3 << 20)
        file.write(b"x")
    os.mkfifo(root / "plain/fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.getcwd()
        os.chdir(root)
        sock.bind("socket")
        os.chdir(here)
    (root / ".dockerignore").write_text("*.md\n!README.md\nignored\n!ignored/kept\n**/*.log\n")
    os.utime(root / "plain/f", ns=(0, 1_234_567_890_123_456_789))
    os.utime(root / "plain", ns=(0, 1_000_000_000_000_000_001))


def test_an_image_is_the_one_that_dockers_client_gets_with_a_tar(daemon: Daemon, context: Path) -> None:
    fill(context)
    (context / "Dockerfile").write_text("FROM busybox\nCOPY . /\nCOPY plain /again/\nCOPY --chmod=640 R* p*/f /some/\n")
    ids = []
    for command in (daemon.corten, daemon.docker):
        command("build", "--no-cache", "-t", "same:1", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", str(context))
        ids.append(daemon.inspect("same:1")["Id"])
    assert ids[0] == ids[1]
    cached = daemon.docker("build", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", str(context)).stdout
    assert cached.count("Using cache") == 3
    listing = daemon.out("run", "--rm", "same:1", "find", "/ignored", "/README.md")
    assert listing.split() == ["/ignored", "/ignored/kept", "/ignored/kept/yes", "/README.md"]


def test_links_end_in_the_context_and_are_never_followed_out_of_it(
    daemon: Daemon, context: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("the host's\n")
    os.symlink(tmp_path / "secret", context / "absolute")
    os.symlink("../secret", context / "up")
    os.symlink(tmp_path, context / "folder")
    for source in ("absolute", "up", "folder/secret"):
        (context / "Dockerfile").write_text(f"FROM busybox\nCOPY {source} /x\n")
        failed = build(daemon, context, check=False)
        assert failed.returncode == 1, source
        assert "the host's" not in failed.stdout + failed.stderr
    (context / "Dockerfile").write_text(EVERYTHING)
    build(daemon, context)
    assert "the host's" not in shown(daemon, "sh", "-c", "cat /all/* 2>/dev/null || true")
    assert shown(daemon, "readlink", "/all/up") == "../secret"


def test_a_context_that_is_swapped_meanwhile_gives_its_own_files_or_an_error(
    daemon: Daemon, context: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    for folder, text in ((context / "d", "inside"), (outside, "secret")):
        folder.mkdir()
        for number in range(50):
            (folder / f"f{number}").write_text(text)
    link = context / "link"
    link.symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            os.rename(context / "d", context / "t")
            os.rename(link, context / "d")
            os.rename(context / "d", link)
            os.rename(context / "t", context / "d")
            over.wait(0.001)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _round in range(6):
            done = build(daemon, context, "--no-cache", check=False)
            if done.returncode:
                assert "was changed while the build was reading" in done.stderr, done.stderr
            else:
                found = shown(daemon, "sh", "-c", "cat /all/*/* 2>/dev/null || true")
                assert "secret" not in found
    finally:
        over.set()
        thread.join()


# -- whose rights


@pytest.fixture
def stranger(daemon: Daemon, context: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Builds as a user who may open the engine's socket and is not root."""
    opened = [daemon.root, daemon.exec_root, *context.parents]
    modes = {path: path.stat().st_mode for path in opened if len(path.parts) > 2}
    for path, mode in modes.items():
        path.chmod(mode | 0o711)
    os.chmod(daemon.socket, 0o666)

    def run(*flags: str) -> subprocess.CompletedProcess[str]:
        return build(daemon, context, *flags, check=False, user=STRANGER, group=STRANGER, extra_groups=[STRANGER + 1])

    yield run
    os.chmod(daemon.socket, 0o660)
    for path, mode in modes.items():
        path.chmod(mode)


def test_a_user_copies_what_it_may_read_and_nothing_else(
    daemon: Daemon, context: Path, stranger: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    context.chmod(0o755)
    (context / "open").write_text("open\n")
    (context / "group").write_text("group\n")
    os.chown(context / "group", 0, STRANGER + 1)
    os.chmod(context / "group", 0o640)
    done = stranger()
    assert done.returncode == 0, done.stderr
    assert shown(daemon, "cat", "/all/open", "/all/group") == "open\ngroup"
    (context / "secret").write_text("secret\n")
    os.chmod(context / "secret", 0o600)
    build(daemon, context)  # root's build, which is remembered: it helps nobody else
    for dockerfile in (EVERYTHING, "FROM busybox\nCOPY secret /\n", "FROM busybox\nCOPY s* /\n"):
        (context / "Dockerfile").write_text(dockerfile)
        done = stranger("--no-cache")
        assert done.returncode == 1
        assert "secret: permission denied" in done.stderr.lower(), done.stderr
        assert stranger().returncode == 1
    (context / "secret").unlink()
    (context / "locked").mkdir(mode=0o700)
    (context / "locked/f").write_text("")
    (context / "Dockerfile").write_text(EVERYTHING)
    done = stranger()
    assert done.returncode == 1
    assert "locked: permission denied" in done.stderr.lower(), done.stderr
    (context / ".dockerignore").write_text("locked\n")  # which is not opened then
    assert stranger().returncode == 0


def test_a_user_reads_no_dockerfile_of_roots(
    context: Path, stranger: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    os.chmod(context / "Dockerfile", 0o600)
    done = stranger()
    assert done.returncode == 1
    assert "permission denied" in done.stderr.lower()


# -- what is offered


def test_named_contexts_have_their_own_ignore_files(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    (other / "sub/kept").write_text("kept\n")
    (other / "sub/lost").write_text("lost\n")
    (other / ".dockerignore").write_text("sub/lost\n")
    (context / ".dockerignore").write_text("sub\n")
    (context / "Dockerfile").write_text(
        "FROM busybox\nCOPY --from=more sub /sub\nRUN --mount=type=bind,from=more,target=/m cat /m/sub/kept > /seen\n"
    )
    build(daemon, context, "--build-context", f"more={other}")
    assert shown(daemon, "ls", "/sub") == "kept"
    assert shown(daemon, "cat", "/seen") == "kept"
    wrong = build(daemon, context, "--build-context", f"more={tmp_path / 'none'}", check=False)
    assert wrong.returncode == 1
    assert f"failed to get build context more: {tmp_path / 'none'}: no such file or directory" in wrong.stderr


def test_secrets_reach_their_step_and_nothing_else(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"hunter2\0\xff")
    (context / "Dockerfile").write_text(
        "FROM busybox\n"
        "RUN --mount=type=secret,id=file,required=true wc -c < /run/secrets/file > /length\n"
        'RUN --mount=type=secret,id=variable,env=TOKEN test "$TOKEN" = from-the-environment\n'
        "RUN --mount=type=secret,id=missing test ! -e /run/secrets/missing\n"
    )
    daemon.environment["SECRET_OF_TEST"] = "from-the-environment"
    try:
        flags = ["--secret", f"id=file,src={tmp_path / 'token'}", "--secret", "id=variable,env=SECRET_OF_TEST"]
        done = build(daemon, context, *flags)
    finally:
        del daemon.environment["SECRET_OF_TEST"]
    assert shown(daemon, "cat", "/length").strip() == "9"
    history = daemon.out("history", "--no-trunc", "t:1")
    for text in (done.stdout, done.stderr, history, daemon.log_text()):
        assert "hunter2" not in text
        assert "from-the-environment" not in text.replace('"$TOKEN" = from-the-environment', "")
    assert holders("hunter2", daemon.root) == []
    (context / "Dockerfile").write_text("FROM busybox\nRUN --mount=type=secret,id=file,required=true true\n")
    failed = build(daemon, context, check=False)
    assert failed.returncode == 1
    assert "file" in failed.stderr


def test_secrets_are_in_no_cache_and_nothing_of_them_outlives_their_step(
    daemon: Daemon, context: Path, tmp_path: Path
) -> None:
    value = "s3cret-" + "fedcba9876543210" * 4
    (tmp_path / "token").write_text(value)
    mounts = "--mount=type=secret,id=t --mount=type=secret,id=t,env=T --mount=type=cache,target=/c"
    use = 'test "$(cat /run/secrets/t)" = "$T"'
    flags = ["--secret", f"id=t,src={tmp_path / 'token'}"]
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN {mounts} {use} && echo done > /done\n")
    cache = tmp_path / "cache"
    done = build(daemon, context, *flags, "--cache-to", f"type=local,dest={cache},mode=max")
    told = [done.stdout, done.stderr, daemon.out("inspect", "t:1"), daemon.out("system", "df", "-v")]
    exported = [path.read_bytes() for path in cache.rglob("*") if path.is_file()]
    layers = [gzip.decompress(data) for data in exported if data.startswith(b"\x1f\x8b")]
    assert any(b"done" in layer for layer in layers)  # that of the step is there, and the search finds what is there
    assert not any(value.encode() in data for data in exported + layers)
    assert holders(value, daemon.root) == []
    (context / "Dockerfile").write_text(f"FROM busybox\nRUN {mounts} {use} && exit 3\n")
    failed = build(daemon, context, *flags, check=False)
    assert failed.returncode == 1
    process = slow(daemon, context, f"FROM busybox\nRUN {mounts} {use} && echo begun; sleep 1000\n", *flags)
    told += [failed.stdout, failed.stderr, daemon.out("inspect", daemon.out("ps", "-aq"))]
    for name in ("cmdline", "environ"):
        assert value.encode() not in Path(f"/proc/{daemon.pid}/{name}").read_bytes()
    process.kill()
    process.communicate(timeout=WAIT_S)
    until(lambda: daemon.out("ps", "-aq") == "")
    until(lambda: holders(value, daemon.root) == [])
    assert all(value not in text for text in [*told, daemon.log_text()])


def test_an_ssh_agent_is_spoken_to_by_way_of_the_client(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    daemon.docker("load", "-i", str(images.debian()))
    program = '$s = IO::Socket::UNIX->new($ENV{SSH_AUTH_SOCK}) or die; print $s "question\\n"; print <$s>'
    (context / "Dockerfile").write_text(
        f"FROM debian\nRUN --mount=type=ssh perl -MIO::Socket::UNIX -e '{program}' > /answer\n"
        f'RUN --mount=type=ssh,id=other test ! -e "$SSH_AUTH_SOCK"\n'
    )
    with agent(tmp_path / "agent") as path:
        done = build(daemon, context, "--ssh", f"default={path}", check=False)
    assert done.returncode == 0, done.stderr
    assert shown(daemon, "cat", "/answer") == "answer to question"


@contextmanager
def agent(path: Path) -> Iterator[Path]:
    """Something that answers a line, as an agent would."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                line = client.recv(100)
                client.sendall(b"answer to " + line)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield path
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


# -- how many


def upgraded(daemon: Daemon) -> tuple[socket.socket, bytes]:
    """A connection for a build that is not said, and the beginning of what the daemon answers."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(WAIT_S)
    sock.connect(str(daemon.socket))
    sock.sendall(b"POST /corten/build HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: corten-build\r\n\r\n")
    return sock, sock.recv(4096)


def test_clients_that_say_nothing_are_bounded(daemon: Daemon, context: Path) -> None:
    held = []
    try:
        while len(held) < MANY:
            sock, answer = upgraded(daemon)
            held.append(sock)
            if not answer.startswith(b"HTTP/1.1 101"):
                break
        assert answer.startswith(b"HTTP/1.1 500")
        refused = build(daemon, context, check=False)
        assert refused.returncode == 1
        assert "builds of directories already" in refused.stderr
        assert daemon.answers()
    finally:
        for sock in held:
            sock.close()
    until(lambda: build(daemon, context, check=False).returncode == 0)  # as soon as it has seen that they left


# -- where the Dockerfile is


def test_a_dockerfile_from_elsewhere_is_not_copied(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").unlink()
    (context / "kept").write_text("")
    (context / "lost").write_text("")
    (tmp_path / "Elsewhere").write_text(EVERYTHING)
    (tmp_path / "Elsewhere.dockerignore").write_text("lost\n")
    build(daemon, context, "-f", str(tmp_path / "Elsewhere"))
    assert shown(daemon, "ls", "-A", "/all") == "kept"
    build(daemon, context, "-f", "-", input=EVERYTHING)
    assert shown(daemon, "ls", "-A", "/all").split() == ["kept", "lost"]
    again = build(daemon, context, "-f", "-", "--progress=plain", input=EVERYTHING)
    assert "CACHED" in again.stderr
    none = daemon.corten("build", "-t", "t:1", "-", input="FROM busybox\nRUN echo alone > /x\n")
    assert none.returncode == 0
    assert shown(daemon, "cat", "/x") == "alone"


# -- other engines, and the end


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until one of both ends."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for sock in (source, target):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(daemon: Daemon, path: Path) -> Iterator[str]:
    """Passes bytes on to the engine, and no descriptors."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    listener.listen()
    threads: list[threading.Thread] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(str(daemon.socket))
            for pair in ((client, engine), (engine, client)):
                threads.append(threading.Thread(target=pump, args=pair))
                threads[-1].start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"unix://{path}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for each in threads:
            each.join(WAIT_S)


def test_a_proxy_that_passes_no_descriptors_gets_a_tar(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (context / "f").write_text("f\n")
    with proxy(daemon, tmp_path / "proxy") as host:
        behind = Daemon(root=daemon.root)
        behind.host = host
        done = build(behind, context, check=False)
        assert done.returncode == 0, done.stderr
        assert shown(daemon, "ls", "/all").split() == ["Dockerfile", "f"]
        refused = build(behind, context, "--secret", "id=x,env=HOME", check=False)
        assert refused.returncode == 1
        assert "--secret needs an engine on this machine that is Corten's" in refused.stderr


SLOW = "FROM busybox\nCOPY . /all\nRUN echo begun; sleep 1000\n"


def slow(daemon: Daemon, context: Path, dockerfile: str = SLOW, *flags: str) -> subprocess.Popen[str]:
    """A build whose step runs until it is ended."""
    (context / "Dockerfile").write_text(dockerfile)
    source = Path(__file__).parents[2] / "src/corten/__main__.py"
    argv = [
        sys.executable,
        "-I",
        "-S",
        str(source),
        "-H",
        daemon.host,
        "build",
        "--progress=plain",
        *flags,
        str(context),
    ]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=daemon.environment)
    assert process.stderr is not None
    for line in process.stderr:
        if "begun" in line and "echo" not in line:
            return process
    raise AssertionError("the build ended")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_client_that_leaves_ends_its_build(
    daemon: Daemon, context: Path, number: signal.Signals, status: int
) -> None:
    process = slow(daemon, context)
    process.send_signal(number)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == status
    if number == signal.SIGINT:
        assert "the build was canceled" in said
        assert "Traceback" not in said
    until(lambda: daemon.out("ps", "-aq") == "")
    until(lambda: contexts_open(daemon, context) == 0)


def contexts_open(daemon: Daemon, context: Path) -> int:
    """How many of the daemon's descriptors are of the context."""
    found = 0
    for fd in Path(f"/proc/{daemon.pid}/fd").iterdir():
        try:
            found += os.readlink(fd).startswith(str(context))
        except FileNotFoundError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_client_whose_engine_goes_away_says_so(context: Path, number: signal.Signals) -> None:
    with running_daemon() as engine:
        engine.docker("load", "-i", str(images.busybox()))
        process = slow(engine, context)
        os.kill(engine.pid, number)
        _, said = process.communicate(timeout=WAIT_S)
        assert process.returncode == 1
        assert "the engine went away in the middle of the build" in said
        until(lambda: not engine.is_running())
        engine.start()
        until(lambda: engine.out("ps", "-aq") == "")
        (context / "Dockerfile").write_text(EVERYTHING)
        build(engine, context)


def test_what_is_remembered_is_forgotten_with_the_cache(daemon: Daemon, context: Path) -> None:
    (context / "f").write_text("f")
    old = time.time() - 1000
    os.utime(context / "f", (old, old))
    build(daemon, context)
    directory = daemon.data_root / "build-hashes"
    assert directory.is_dir()
    daemon.docker("builder", "prune", "-af")
    assert list(directory.iterdir()) == []
    build(daemon, context)
    assert shown(daemon, "cat", "/all/f") == "f"


def test_caches_are_in_directories_of_the_client(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN head -c 8 /dev/urandom > /random\nCOPY . /all\n")
    cache = tmp_path / "new/cache"
    build(daemon, context, "--cache-to", f"type=local,dest={cache}")
    assert (cache / "index.json").is_file()
    made = shown(daemon, "md5sum", "/random")
    daemon.docker("rmi", "-f", "t:1")
    daemon.docker("builder", "prune", "-af")
    again = build(daemon, context, "--cache-from", f"type=local,src={cache}", "--progress=plain")
    assert shown(daemon, "md5sum", "/random") == made, again.stderr
    daemon.docker("rmi", "-f", "t:1")
    daemon.docker("builder", "prune", "-af")
    missing = build(daemon, context, "--cache-from", f"type=local,src={tmp_path / 'none'}")
    assert missing.returncode == 0
    assert shown(daemon, "md5sum", "/random") != made


def test_a_user_has_no_directories_for_caches(
    context: Path, tmp_path: Path, stranger: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    (tmp_path / "cache").mkdir(mode=0o777)
    done = stranger("--cache-to", f"type=local,dest={tmp_path / 'cache'}")
    assert done.returncode == 1
    assert "for root alone" in done.stderr
    assert os.listdir(tmp_path / "cache") == []
