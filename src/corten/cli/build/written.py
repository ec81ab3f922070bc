"""A build's results on this machine: a file that is whole or not there, a directory, an OCI layout in a directory.

An image is somebody else's: below the directory nothing is written through a link, and no file gets power here.
"""

from __future__ import annotations

import json
import os

from corten.cli.copy.unpack import Stream, unpack
from corten.cli.errors import CliError
from corten.cli.output_file import write_stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_INDEX = "index.json"
_DOCKERS = ("manifest.json", "repositories")
_INDEX_LIMIT = 16 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write_file(pieces: Iterator[bytes], path: str, what: str) -> None:
    """A file, or standard output without a path."""
    write_stream(pieces, path, what)


def write_directory(pieces: Iterator[bytes], folder: str) -> None:
    """The tar's files, below a directory that is made where it is missing."""
    os.makedirs(folder, exist_ok=True)
    unpack(Stream(pieces), folder, "", "", harmless=True)
    for _rest in pieces:  # behind the end of the tar
        pass


def write_layout(pieces: Iterator[bytes], folder: str, *, keeps_docker: bool) -> None:
    """An OCI layout, added to the one that is there; `manifest.json` too, if `keeps_docker`."""
    os.makedirs(folder, exist_ok=True)
    root = os.open(folder, _FOLDER)
    try:
        before = _read_index(root)
        kept = {name for name in _DOCKERS if _exists(root, name)}
        try:
            write_directory(pieces, folder)
        except BaseException:
            if before is not None:  # the new index may stand in its place, or half of it
                _write_index(root, before)
            raise
        if before is not None:
            _write_index(root, merged(before, _read_index(root) or {}))
        for name in _DOCKERS:
            if not keeps_docker and name not in kept and _exists(root, name):
                os.unlink(name, dir_fd=root)
    finally:
        os.close(root)


def merged(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """An index with the entries of both; a name goes to the new one's. Pure."""
    names = {_name(entry) for entry in new.get("manifests") or []}
    rest = [entry for entry in before.get("manifests") or [] if _name(entry) not in names]
    return {**before, **new, "manifests": [*rest, *(new.get("manifests") or [])]}


def _name(entry: dict[str, Any]) -> str:
    """What an entry is called: its whole name, its tag, or without any its digest."""
    notes = entry.get("annotations") or {}
    name = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name")
    return str(name or entry.get("digest"))


def _exists(root: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _read_index(root: int) -> dict[str, Any] | None:
    try:
        fd = os.open(_INDEX, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=root)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CliError(f"the layout's {_INDEX} cannot be read: {error.strerror}") from None
    with open(fd, "rb") as file:
        data = file.read(_INDEX_LIMIT + 1)
    try:
        found = json.loads(data) if len(data) <= _INDEX_LIMIT else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise CliError(f"the layout's {_INDEX} is no index")
    return found


def _write_index(root: int, index: dict[str, Any]) -> None:
    temporary = f"{_INDEX}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=root)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            json.dump(index, file)
        os.replace(temporary, _INDEX, src_dir_fd=root, dst_dir_fd=root)
    except BaseException:
        os.unlink(temporary, dir_fd=root)
        raise
