"""Git repositories of the tests' own, and servers for them on loopback: git's own programs behind HTTP and TCP."""

from __future__ import annotations

import base64
import http.server
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example",
    "GIT_COMMITTER_NAME": "c",
    "GIT_COMMITTER_EMAIL": "c@example",
    "GIT_AUTHOR_DATE": "1600000000 +0000",
    "GIT_COMMITTER_DATE": "1600000000 +0000",
    "GIT_ALLOW_PROTOCOL": "file",
    "LC_ALL": "C",
}


def git(directory: Path, *arguments: str, data: bytes | None = None, check: bool = True) -> str:
    """Run git in a directory; what it printed, stripped."""
    argv = ["git", "-c", "safe.directory=*", "-c", "init.defaultBranch=main", *arguments]
    done = subprocess.run(argv, cwd=directory, env=_ENVIRONMENT, input=data, capture_output=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr.decode()}")
    return done.stdout.decode(errors="replace").strip()


class Repository:
    """A repository with a work tree at `path`, which clients may read."""

    def __init__(self, path: Path, *, object_format: str = "sha1") -> None:
        self.path = path
        path.mkdir(parents=True)
        git(path, "init", "-q", f"--object-format={object_format}")

    def git(self, *arguments: str, data: bytes | None = None) -> str:
        """Run git in it."""
        return git(self.path, *arguments, data=data)

    def commit(self, files: Mapping[str, str | bytes] | None = None) -> str:
        """Write files and commit everything; the commit's id."""
        for name, content in (files or {}).items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "c")
        return self.git("rev-parse", "HEAD")

    def tree(self, *rows: tuple[str, str, bytes]) -> str:
        """A commit of a tree made by hand, of (mode, object id, name): names that git itself would refuse."""
        size = len(bytes.fromhex(rows[0][1]))
        data = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, oid, name in rows)
        assert size in (20, 32)
        tree = self.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", data=data)
        commit = self.git("commit-tree", "-m", "c", tree)
        self.git("update-ref", "refs/heads/main", commit)
        return commit

    def blob(self, data: bytes) -> str:
        """An object of these bytes."""
        return self.git("hash-object", "-w", "--stdin", data=data)


class _Handler(http.server.BaseHTTPRequestHandler):
    root: ClassVar[Path]
    requests: ClassVar[list[str]]
    user: ClassVar[str]
    speaks_v2: ClassVar[bool]

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        expected = "Basic " + base64.b64encode(self.user.encode()).decode()
        if self.user and self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        environment = {
            **_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1",
        }
        if self.speaks_v2 and self.headers.get("Git-Protocol"):
            environment["GIT_PROTOCOL"] = self.headers["Git-Protocol"]
        done = subprocess.run(["git", "http-backend"], env=environment, input=body, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(ConnectionError):  # a client that has refused what came so far
            self.wfile.write(content)

    do_GET = do_POST = _serve  # noqa: N815 - the names of http.server


class GitServer:
    """`url` is where the repositories below `root` are; `requests` what was asked so far."""

    def __init__(self, root: Path, *, user: str = "", speaks_v2: bool = True) -> None:
        self.requests: list[str] = []
        fields = {"root": root, "requests": self.requests, "user": user, "speaks_v2": speaks_v2}
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), fields))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def fetches(self) -> int:
        """How many requests were for more than the refs' names."""
        return sum(request.startswith("POST") for request in self.requests)

    def __enter__(self) -> GitServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def git_daemon(root: Path) -> Iterator[str]:
    """git's TCP service for the repositories below `root`; gives `git://host:port`."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    argv = ["git", "-c", "safe.directory=*", "daemon", "--export-all", f"--base-path={root}", "--listen=127.0.0.1"]
    environment = {
        **_ENVIRONMENT,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    process = subprocess.Popen(
        [*argv, f"--port={port}", "--reuseaddr", str(root)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"git://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
