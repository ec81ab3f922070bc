"""A made-up container's files, and copies from and to it that are compared with those of Docker's client."""

from __future__ import annotations

import base64
import io
import json
import os
import posixpath
import shlex
import stat
import tarfile
from pathlib import Path
from typing import Any

from tests.unit.cli.fake_engine import Asked

_FOLDER, _LINK = 1 << 31, 1 << 27  # Go's mode bits
TREE: dict[str, str | None] = {
    "/dir": None,
    "/dir/one": "1",
    "/dir/sub": None,
    "/dir/sub/two": "22",
    "/file": "content",
    "/to-dir": "->/dir",
    "/to-file": "->file",
    "/dangling": "->/nowhere/x",
}


def stat_header(path: str) -> str:
    """X-Docker-Container-Path-Stat."""
    value = TREE[_clean(path)]
    mode, link = 0o644, ""
    if value is None:
        mode = _FOLDER | 0o755
    elif value.startswith("->"):
        mode, link = _LINK | 0o777, value[2:]
        link = link if link.startswith("/") else f"/{link}"
    name = posixpath.basename(path.rstrip("/"))
    text = json.dumps({"name": name, "size": 1, "mode": mode, "mtime": "2001-09-09T01:46:40Z", "linkTarget": link})
    return base64.b64encode(text.encode()).decode()


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _archive(path: str) -> bytes:
    buffer = io.BytesIO()
    real = _clean(path)
    base = "." if path.endswith("/.") else posixpath.basename(real)
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, value in TREE.items():
            if name != real and not name.startswith(f"{real}/"):
                continue
            info = tarfile.TarInfo(base + name[len(real) :])
            info.mtime = 1000000000
            if value is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o750
                tar.addfile(info)
            elif value.startswith("->"):
                info.type, info.linkname = tarfile.SYMTYPE, value[2:]
                tar.addfile(info)
            else:
                info.size, info.mode = len(value), 0o640
                tar.addfile(info, io.BytesIO(value.encode()))
    return buffer.getvalue()


def _answer(asked: Asked) -> tuple[int, Any]:
    path = dict(asked.query)["path"]
    if asked.method == "PUT":
        return 200, b""
    if _clean(path) not in TREE:
        return 404, {"message": f"Could not find the file {path} in container box"}
    return 200, _archive(path) if asked.method == "GET" else b""


def answers() -> dict[str, Any]:
    """For FakeEngine."""
    found: dict[str, Any] = {f"{method} /containers/box/archive": _answer for method in ("HEAD", "GET", "PUT")}
    found["GET /containers/box/json"] = (200, {"Id": "box"})
    return found


def prepare(folder: Path) -> None:
    """Local files."""
    (folder / "local/sub").mkdir(parents=True)
    (folder / "local/a").write_text("a")
    (folder / "local/sub/b").write_text("bb")
    (folder / "plain").write_text("plain")
    (folder / "link").symlink_to("plain")
    (folder / "dirlink").symlink_to("local")
    (folder / "out").mkdir()


def members(body: bytes) -> list[str]:
    """Name, kind and link of each member of a sent archive."""
    if not body:
        return []
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return sorted(f"{one.name} {one.type.decode()} {one.linkname} {one.size}" for one in tar)


def files(folder: Path) -> list[str]:
    """All that is in the folder now."""
    found = []
    for root, folders, names in os.walk(folder):
        for name in folders + names:
            path = Path(root) / name
            mode = path.lstat().st_mode
            text = os.readlink(path) if stat.S_ISLNK(mode) else path.read_text() if stat.S_ISREG(mode) else ""
            found.append(f"{path.relative_to(folder)} {stat.S_IFMT(mode):o} {text}")
    return sorted(found)


_LINES = """
cp plain box:/dir
cp plain box:/dir/
cp plain box:/new
cp plain box:/new/
cp plain box:/dir/new
cp plain box:/file
cp plain box:/to-dir
cp plain box:/to-file
cp plain box:/dangling
cp local box:/dir
cp local box:/new
cp local/ box:/dir
cp local/. box:/dir
cp local/. box:/new
cp local box:/file
cp link box:/dir
cp -L link box:/dir
cp -L link box:/new
cp dirlink box:/dir
cp dirlink/ box:/dir
cp -L dirlink box:/dir
cp -a plain box:/dir
cp absent box:/dir
cp plain/ box:/dir
cp box:/file out
cp box:/file out/
cp box:/file new
cp box:/file new/
cp box:/file plain
cp box:/file absent/new
cp box:/dir out
cp box:/dir new
cp box:/dir/. out
cp box:/dir/. new
cp box:/dir plain
cp box:/to-dir out
cp -L box:/to-dir out
cp -L box:/to-dir new
cp -L box:/to-file out
cp box:/to-file out
cp box:/dangling out
cp box:/nope out
cp box:/file dirlink
cp box:/file link
cp box:/file .
cp box:dir/one .
""".strip().splitlines()
CASES = [shlex.split(line) for line in _LINES]
