"""Archives in and out of containers, export, commit and changes, as clients of the API see them."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.lab.daemon import Daemon

_LINK, _FOLDER = 1 << 27, 1 << 31


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.body = response.read()
        self.headers = response.headers

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])

    @property
    def stat(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.b64decode(self.headers["X-Docker-Container-Path-Stat"]))
        return found

    @property
    def names(self) -> list[str]:
        with tarfile.open(fileobj=io.BytesIO(self.body)) as tar:
            return tar.getnames()

    @property
    def members(self) -> dict[str, tarfile.TarInfo]:
        with tarfile.open(fileobj=io.BytesIO(self.body)) as tar:
            return {member.name: member for member in tar}

    def content(self, name: str) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(self.body)) as tar:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()


def ask(daemon: Daemon, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect(str(daemon.socket))
    try:
        connection.request(method, f"/v1.45{path}", body, headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def archive(container: str, path: str, **query: str) -> str:
    more = "".join(f"&{key}={quote(value)}" for key, value in query.items())
    return f"/containers/{container}/archive?path={quote(path, safe='')}{more}"


def tar_of(*members: tuple[str, bytes | None], uid: int = 0, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.uid = info.gid = uid
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.fixture(scope="module")
def prepared(daemon: Daemon) -> Iterator[str]:
    """A container with links, a volume with a file, and a second name for a file."""
    script = """
        [ -e /ready ] && exec sleep 1000
        mkdir -p /t/d /vol/sub; echo hello > /t/d/f; ln /t/d/f /t/d/hard; ln -s d/f /t/link; ln -s link /t/again
        ln -s /vol /t/volume; ln -s nowhere /t/broken; ln -s loop /t/loop;
        echo inside > /vol/sub/file; chmod 4755 /t/d; touch /ready; exec sleep 1000
    """
    name = daemon.out("run", "-d", "--name", "prepared", "-v", "archived:/vol", "busybox", "sh", "-c", script)
    daemon.out("exec", name, "sh", "-c", "until [ -e /ready ]; do :; done")
    yield "prepared"
    daemon.docker("rm", "-f", "prepared")
    daemon.docker("volume", "rm", "archived")


@pytest.fixture(params=["running", "stopped"])
def container(request: pytest.FixtureRequest, daemon: Daemon, prepared: str) -> str:
    daemon.docker("start" if request.param == "running" else "kill", prepared, check=False)
    return prepared


def test_a_stat_is_what_the_container_has(daemon: Daemon, container: str) -> None:
    found = ask(daemon, "HEAD", archive(container, "/t/d/f")).stat
    assert (found["name"], found["size"], found["mode"], found["linkTarget"]) == ("f", 6, 0o644, "")
    assert ask(daemon, "HEAD", archive(container, "t/d/")).stat["mode"] == _FOLDER | 1 << 23 | 0o755
    assert ask(daemon, "HEAD", archive(container, "/")).stat["name"] == "/"
    assert ask(daemon, "HEAD", archive(container, "/t/.")).stat["name"] == "."


@pytest.mark.parametrize(
    ("link", "target"),
    [("link", "/t/d/f"), ("again", "/t/d/f"), ("volume", "/vol"), ("broken", "/t/nowhere")],
)
def test_the_last_link_is_not_followed_but_told_to_its_end(
    daemon: Daemon, container: str, link: str, target: str
) -> None:
    found = ask(daemon, "HEAD", archive(container, f"/t/{link}")).stat
    assert found["mode"] & _LINK
    assert found["linkTarget"] == target


def test_a_link_out_of_the_root_leads_into_it(daemon: Daemon, container: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        link = tarfile.TarInfo("up")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../../etc/passwd"
        tar.addfile(link)
    assert ask(daemon, "PUT", archive(container, "/t"), out.getvalue()).status == 200
    assert ask(daemon, "HEAD", archive(container, "/t/up")).stat["linkTarget"] == "/etc/passwd"
    assert ask(daemon, "PUT", archive(container, "/t"), tar_of(("up", b"no link any more"))).status == 200
    assert ask(daemon, "HEAD", archive(container, "/t/up")).stat["size"] == 16


def test_paths_lead_through_links_into_volumes(daemon: Daemon, container: str) -> None:
    assert ask(daemon, "GET", archive(container, "/t/volume/sub/file")).content("file") == b"inside\n"
    assert ask(daemon, "GET", archive(container, "/t/volume/")).names == ["volume", "volume/sub", "volume/sub/file"]
    assert ask(daemon, "GET", archive(container, "/t/volume")).members["volume"].issym()


def test_names_begin_as_docker_has_them(daemon: Daemon, container: str) -> None:
    for path, first in (("/t/d", "d"), ("/t/d/", "d"), ("/t/d/.", "."), ("/t/d/f", "f")):
        assert ask(daemon, "GET", archive(container, path)).names[0] == first
    whole = ask(daemon, "GET", archive(container, "/"))
    raw = whole.members
    assert {"/t/d/f", "/vol/sub/file"} <= {"/" + name.lstrip("/") for name in raw}
    assert not any(name.lstrip("/").startswith(("proc/", "sys/")) for name in raw)


@pytest.mark.parametrize("client", ["docker", "corten"])
def test_a_whole_root_is_copied_under_a_new_name(daemon: Daemon, container: str, client: str, tmp_path: Path) -> None:
    getattr(daemon, client)("cp", f"{container}:/", str(tmp_path / "new"))
    assert (tmp_path / "new/vol/sub/file").read_text() == "inside\n"
    assert os.listdir(tmp_path) == ["new"]
    assert os.listdir(tmp_path / "new/proc") == []


def test_an_archive_keeps_links_owners_and_modes(daemon: Daemon, container: str) -> None:
    members = ask(daemon, "GET", archive(container, "/t/d")).members
    assert members["d"].mode == 0o4755
    assert members["d/hard"].islnk()
    assert members["d/hard"].linkname == "d/f"


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_is_missing_is_named_as_it_was_asked_for(daemon: Daemon, container: str, method: str) -> None:
    answer = ask(daemon, method, archive(container, "/t/nope"), tar_of(("x", b"")) if method == "PUT" else None)
    assert answer.status == 404
    assert answer.message == "Could not find the file /t/nope in container prepared"
    head = ask(daemon, "HEAD", archive(container, "/t/nope"))
    assert (head.status, head.body) == (404, b"")


def test_an_empty_or_looping_path_is_refused(daemon: Daemon, container: str) -> None:
    assert ask(daemon, "GET", archive(container, "")).status == 400
    assert ask(daemon, "GET", archive(container, "/t/loop/x")).status == 400
    assert ask(daemon, "GET", archive(container, "/t/d/f/x")).status == 400
    assert ask(daemon, "PUT", archive(container, "/t/d/f"), tar_of(("x", b""))).message == (
        "extraction point is not a directory"
    )


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_archives_arrive_whatever_they_are_compressed_with(daemon: Daemon, container: str, mode: str) -> None:
    name = f"in-{mode.replace(':', '-')}"
    assert ask(daemon, "PUT", archive(container, "/t"), tar_of((name, b"data"), mode=mode)).status == 200
    assert ask(daemon, "GET", archive(container, f"/t/{name}")).content(name) == b"data"


def test_a_link_in_the_container_leads_where_it_leads_there(daemon: Daemon, container: str) -> None:
    assert ask(daemon, "PUT", archive(container, "/t/volume"), tar_of(("by-target", b"1"))).status == 200
    assert ask(daemon, "GET", archive(container, "/vol/by-target")).status == 200
    daemon.docker("start", container)
    daemon.docker("exec", container, "ln", "-sfn", "/t/d", "/t/parent")
    daemon.docker("exec", container, "ln", "-sfn", "/../../../../../../var/tmp", "/t/out")
    assert ask(daemon, "PUT", archive(container, "/t"), tar_of(("parent/by-name", b"2"))).status == 200
    assert daemon.out("exec", container, "cat", "/t/d/by-name") == "2"
    escape = f"corten-canary-{os.getpid()}"
    ask(daemon, "PUT", archive(container, "/t"), tar_of((f"out/{escape}", b"3")))
    assert not Path("/var/tmp", escape).exists()


def test_kinds_are_kept_when_asked(daemon: Daemon, container: str) -> None:
    url = archive(container, "/t", noOverwriteDirNonDir="true")
    answer = ask(daemon, "PUT", url, tar_of(("d", b"file")))
    assert (answer.status, answer.message) == (400, 'cannot overwrite directory "/t/d" with non-directory "/t"')
    answer = ask(daemon, "PUT", url, tar_of(("link", None)))
    assert answer.message == 'cannot overwrite non-directory "/t/link" with directory "/t"'


def test_owners_are_the_archives_or_the_containers_users(daemon: Daemon) -> None:
    for user, own, expected in (("", "true", 77), ("guest", "true", 405), ("guest", "", 77), ("5:6", "1", 5)):
        daemon.docker("create", "--name", "owned", *(["-u", user] if user else []), "busybox", "true")
        daemon.docker("cp", "-", "owned:/etc", input=tar_of(("passwd", b"guest:x:405:100::/:\n")).decode("latin-1"))
        url = archive("owned", "/tmp", **({"copyUIDGID": own} if own else {}))
        assert ask(daemon, "PUT", url, tar_of(("f", b""), uid=77)).status == 200
        assert ask(daemon, "GET", archive("owned", "/tmp/f")).members["f"].uid == expected
        daemon.docker("rm", "owned")


def test_read_only_stays_read_only(daemon: Daemon) -> None:
    options = ["--read-only", "-v", "rovol:/ro:ro", "-v", "rwvol:/rw", "--name", "readonly"]
    daemon.docker("run", "-d", "--init", *options, "busybox", "sleep", "1000")
    for _state in ("running", "stopped"):
        answer = ask(daemon, "PUT", archive("readonly", "/tmp"), tar_of(("x", b"")))
        assert (answer.status, answer.message) == (403, "container rootfs is marked read-only")
        assert ask(daemon, "PUT", archive("readonly", "/ro"), tar_of(("x", b""))).status == 403
        assert ask(daemon, "PUT", archive("readonly", "/rw"), tar_of(("x", b""))).status == 200
        daemon.docker("kill", "readonly", check=False)
    daemon.docker("rm", "-v", "readonly")
    daemon.docker("volume", "rm", "rovol", "rwvol")


@pytest.mark.parametrize("data", [b"\x1f\x8b\x08garbage", tar_of(("x", b"1" * 5000))[:1000], b"x" * 700])
def test_a_broken_archive_is_an_error_and_no_more(daemon: Daemon, prepared: str, data: bytes) -> None:
    answer = ask(daemon, "PUT", archive(prepared, "/t"), data)
    assert answer.status in (400, 500)
    assert answer.message


def test_clients_that_leave_take_nothing_with_them(daemon: Daemon) -> None:
    daemon.docker("run", "-d", "--name", "large", "busybox", "sh", "-c", "head -c 50000000 /dev/zero >/big; sleep 1000")
    daemon.docker("exec", "large", "sh", "-c", "until [ $(stat -c %s /big) = 50000000 ]; do :; done")
    before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
    for path in ("/containers/large/export", archive("large", "/big")):
        for _ in range(5):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(daemon.socket))
                sock.sendall(f"GET /v1.45{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert sock.recv(1000).startswith(b"HTTP/1.1 200")
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(daemon.socket))
            head = f"PUT /v1.45{archive('large', '/tmp')} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
            sock.sendall(head.encode() + tar_of(("half", b"1" * 40000))[:20000])
    for _ in range(500):
        after = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        if after <= before:
            break
        daemon.out("ps", "-q")
    assert after <= before
    daemon.docker("rm", "-f", "large")


def test_an_export_is_the_root_without_its_mounts(daemon: Daemon, container: str) -> None:
    answer = ask(daemon, "GET", f"/containers/{container}/export")
    members = answer.members
    assert {"t/d/f", "etc/hosts", "proc", "vol", "bin/busybox"} <= set(members)
    assert not any(name.startswith(("vol/", "proc/", "sys/")) for name in members)
    assert members["etc/hosts"].size == 0
    assert members["t/d/hard"].islnk() or members["t/d/f"].islnk()


def test_changes_are_none_or_a_list(daemon: Daemon) -> None:
    daemon.docker("create", "--name", "same", "busybox", "true")
    assert json.loads(ask(daemon, "GET", "/containers/same/changes").body) is None
    daemon.docker("rm", "same")
    script = "touch /etc/new && rm /etc/new && cat /etc/passwd >> /dev/null && chmod 600 /etc/group && mkdir -p /a/b"
    daemon.docker("run", "--name", "changed", "busybox", "sh", "-c", script)
    found = json.loads(ask(daemon, "GET", "/containers/changed/changes").body)
    assert found == [
        {"Path": "/a", "Kind": 1},
        {"Path": "/a/b", "Kind": 1},
        {"Path": "/etc", "Kind": 0},
        {"Path": "/etc/group", "Kind": 0},
    ]
    daemon.docker("rm", "changed")


def test_a_replaced_directory_shows_what_is_gone(daemon: Daemon) -> None:
    daemon.docker("run", "--name", "opaque", "busybox", "sh", "-c", "rm -r /var; mkdir /var; echo x > /var/own")
    found = json.loads(ask(daemon, "GET", "/containers/opaque/changes").body)
    assert found == [
        {"Path": "/var", "Kind": 0},
        {"Path": "/var/own", "Kind": 1},
        {"Path": "/var/www", "Kind": 2},
    ]
    daemon.docker("rm", "opaque")


def test_commit_keeps_what_the_container_is_and_lets_the_request_win(daemon: Daemon) -> None:
    daemon.docker(
        "run", "-d", "--name", "source", "-e", "A=1", "-l", "mine=1", "-w", "/tmp", "--entrypoint", "sh", "busybox",
        "-c", "mkdir -p /kept; ln -s x /kept/link; mkfifo /kept/pipe; touch /ready; sleep 1000",
    )  # fmt: skip
    daemon.docker("exec", "source", "sh", "-c", "until [ -e /ready ]; do :; done")
    body = json.dumps({"Env": ["B=2"], "Labels": {"theirs": "2"}}).encode()
    url = "/commit?container=source&repo=made&tag=1&comment=why&author=who&changes=" + quote(
        'CMD ["true"]\nUSER nobody'
    )
    answer = ask(daemon, "POST", url, body, **{"Content-Type": "application/json"})
    assert answer.status == 201
    found = daemon.inspect("made:1")
    config = found["Config"]
    assert config["Env"][:1] == ["B=2"]
    assert "A=1" in config["Env"]
    assert config["Labels"] == {"mine": "1", "theirs": "2"}
    assert (config["Cmd"], config["Entrypoint"], config["User"]) == (["true"], ["sh"], "nobody")
    assert config["WorkingDir"] == "/tmp"
    assert (found["Author"], found["Comment"]) == ("who", "why")
    assert daemon.inspect("source")["State"]["Status"] == "running"
    history = json.loads(ask(daemon, "GET", "/images/made:1/history").body)
    assert (history[0]["CreatedBy"], history[0]["Comment"]) == (
        "-c mkdir -p /kept; ln -s x /kept/link; mkfifo /kept/pipe; touch /ready; sleep 1000",
        "why",
    )
    shown = daemon.out("run", "--rm", "-u", "0", "--entrypoint", "sh", "made:1", "-c", "readlink /kept/link; ls /kept")
    assert shown.split() == ["x", "link", "pipe"]
    daemon.docker("rm", "-f", "source")
    daemon.docker("rmi", "made:1")


def test_a_new_entrypoint_drops_the_old_command(daemon: Daemon) -> None:
    daemon.docker("create", "--name", "plain", "busybox", "echo", "old")
    daemon.docker("commit", "--change", 'ENTRYPOINT ["echo", "new"]', "plain", "entry:1")
    assert daemon.inspect("entry:1")["Config"].get("Cmd") is None
    assert daemon.out("run", "--rm", "entry:1") == "new"
    daemon.docker("rm", "plain")
    daemon.docker("rmi", "entry:1")


def test_commit_of_nothing_or_of_a_bad_name_is_refused(daemon: Daemon, prepared: str) -> None:
    assert ask(daemon, "POST", "/commit?container=nope").status == 404
    answer = ask(daemon, "POST", f"/commit?container={prepared}&repo=UPPER")
    assert (answer.status, "must be lowercase" in answer.message) == (400, True)


def test_a_name_that_looks_compressed_does_not_break_a_commit(daemon: Daemon) -> None:
    daemon.docker("run", "--name", "odd", "busybox", "sh", "-c", r"touch /$(printf '\037\213\010\001')x")
    daemon.docker("commit", "odd", "odd:1")
    assert daemon.out("run", "--rm", "odd:1", "sh", "-c", r"ls -d /$(printf '\037')* | wc -l") == "1"
    daemon.docker("rm", "odd")
    daemon.docker("rmi", "odd:1")


def test_events_tell_of_each(daemon: Daemon, prepared: str) -> None:
    ask(daemon, "GET", archive(prepared, "/t/d/f"))
    ask(daemon, "PUT", archive(prepared, "/t"), tar_of(("seen", b"")))
    ask(daemon, "GET", f"/containers/{prepared}/export")
    daemon.docker("commit", "-m", "noted", prepared, "event:1")
    until = daemon.out("info", "--format", "{{.SystemTime}}")
    lines = daemon.out(
        "events",
        "--since",
        "2020-01-01",
        "--until",
        until,
        "--filter",
        f"container={prepared}",
        "--format",
        "{{json .}}",
    )
    events = [json.loads(line) for line in lines.splitlines()]
    actions = [event["Action"] for event in events]
    assert {"archive-path", "extract-to-dir", "export", "commit"} <= set(actions)
    commit = next(event for event in reversed(events) if event["Action"] == "commit")
    assert commit["Actor"]["Attributes"]["imageRef"] == "event:1"
    assert commit["Actor"]["Attributes"]["comment"] == "noted"
    daemon.docker("rmi", "event:1")
