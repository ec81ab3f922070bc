"""`corten cp`: between a container and this machine, or a tar stream on standard input or output."""

from __future__ import annotations

import base64
import os
import posixpath
import sys

from corten.cli.command import Call, Command
from corten.cli.commands.load import read_pieces
from corten.cli.copy.naming import STDIN, Entry, asserts_folder, destination, split_argument, split_path
from corten.cli.errors import CliError
from corten.cli.human_size import human_size
from corten.cli.option import Option
from corten.client import json_text
from corten.client.errors import ApiError
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corten.client.api import Client

_GO_FOLDER = 1 << 31  # Go's FileMode bits
_GO_LINK = 1 << 27
_MAX_LINKS = 40


def cp(call: Call) -> None:
    """Copy in the direction that the arguments say."""
    from_container, source = split_argument(call.arguments[0])
    to_container, target = split_argument(call.arguments[1])
    if from_container and to_container:
        raise CliError("copying between containers is not supported")
    if not (from_container or to_container):
        raise CliError("must specify at least one container source")
    if not source or not target:
        raise CliError("source can not be empty" if not source else "destination can not be empty")
    if from_container:
        _copy_out(call, from_container, source, target)
    else:
        _copy_in(call, to_container, source, target)


def stat_path(client: Client, container: str, path: str) -> dict[str, Any]:
    """What is at a path of a container. Raises ApiError."""
    try:
        headers = client.head(f"/containers/{quote(container)}/archive", query={"path": path})
    except ApiError as error:
        if error.status == 404:
            _check_container(client, container)
            text = f"Could not find the file {path} in container {container}"
            raise ApiError(404, text) from None
        raise
    text = headers.get("x-docker-container-path-stat", "")
    found: dict[str, Any] = json_text.loads(base64.b64decode(text))
    return found


def _check_container(client: Client, container: str) -> None:
    """HEAD answers have no text: ask in a way that has one."""
    client.call("GET", f"/containers/{quote(container)}/json")


def _follow(client: Client, container: str, path: str) -> tuple[str, dict[str, Any] | None]:
    """The path behind symbolic links at the end of `path`, and what is there: None for a link to nothing."""
    for step in range(_MAX_LINKS):
        try:
            found = stat_path(client, container, path)
        except ApiError as error:
            if step and error.status == 404:
                return path, None
            raise
        if not found["mode"] & _GO_LINK:
            return path, found
        target = found["linkTarget"]
        if not posixpath.isabs(target):
            target = posixpath.join(posixpath.dirname(path.rstrip("/")) or "/", target)
        path = target
    raise CliError(f"too many links at {path}")


def _copy_in(call: Call, container: str, source: str, path: str) -> None:
    client, values = call.client, call.values
    target = Entry(path, exists=False)
    try:
        found, status = _follow(client, container, path)
    except ApiError as error:
        if error.status != 404 or "No such container" in error.message:
            raise
    else:
        folder_there = status is not None and bool(status["mode"] & _GO_FOLDER)
        target = Entry(found, exists=status is not None, is_folder=folder_there)
    query: dict[str, object] = {"noOverwriteDirNonDir": "true", "copyUIDGID": "true" if values["archive"] else ""}
    headers = {"Content-Type": "text/plain"}
    url = f"/containers/{quote(container)}/archive"
    if source == STDIN:
        if not target.is_folder:
            raise CliError(f'destination "{container}:{path}" must be a directory')
        client.call("PUT", url, query={"path": target.path, **query}, data=read_pieces(0), headers=headers)
        return
    entry, real = _local_source(source, follow=values["follow-link"])
    folder, old, new = destination(entry, target)
    count = [0]

    def write_all(write: Callable[[bytes], None]) -> None:
        from corten.cli.copy.pack import pack

        def counted(data: bytes) -> None:
            count[0] += len(data)
            write(data)

        pack(real, old, new, counted, name=entry.rebase)

    client.call("PUT", url, query={"path": folder, **query}, data=write_all, headers=headers)
    _tell(call, count[0], f"{container}:{path}")


def _local_source(path: str, *, follow: bool) -> tuple[Entry, str]:
    """(the entry as it is named, the path to read)."""
    try:
        status = os.lstat(path)
    except NotADirectoryError:
        raise CliError("not a directory") from None
    except OSError as error:
        raise CliError(f"lstat {os.path.abspath(path)}: {(error.strerror or '').lower()}") from None
    is_link = (status.st_mode & 0o170000) == 0o120000
    is_link = is_link or (path.endswith("/") and os.path.islink(path.rstrip("/")))
    if is_link and (follow or asserts_folder(path)):
        real = os.path.realpath(path)
        if not os.path.exists(real):
            raise CliError(f"lstat {real}: no such file or directory")
        return Entry(real, is_folder=os.path.isdir(real), rebase=split_path(path)[1]), real
    is_folder = (status.st_mode & 0o170000) == 0o040000
    if asserts_folder(path) and not is_folder and not os.path.isdir(path):
        raise CliError("not a directory")
    return Entry(path, is_folder=is_folder or (os.path.isdir(path) and not is_link)), path


def _copy_out(call: Call, container: str, source: str, target: str) -> None:
    client, values = call.client, call.values
    if target != STDIN:
        parent = os.path.dirname(os.path.abspath(target))
        if not os.path.isdir(parent):
            raise CliError(f'invalid output path: directory "{parent}" does not exist')
    path, rebase = source, ""
    if values["follow-link"]:
        path, _ = _follow(client, container, source)
        if path != source:
            rebase = split_path(source)[1]
    conn = client.stream("GET", f"/containers/{quote(container)}/archive", query={"path": path})
    try:
        if target == STDIN:
            from corten.cli.streams import write_all

            for piece in conn.pieces():
                write_all(1, piece)
            return
        text = conn.headers.get("x-docker-container-path-stat", "")
        is_folder = bool(json_text.loads(base64.b64decode(text))["mode"] & _GO_FOLDER)
        _unpack(conn.pieces(), Entry(path, is_folder=is_folder, rebase=rebase), target, call)
    finally:
        conn.close()


def _unpack(pieces: Any, source: Entry, target: str, call: Call) -> None:
    from corten.cli.copy.unpack import Stream, unpack

    real = os.path.realpath(target) if os.path.islink(target.rstrip("/")) else target
    exists = os.path.lexists(real)
    entry = Entry(real, exists=exists, is_folder=os.path.isdir(real))
    named = Entry(source.path, is_folder=source.is_folder)
    folder, old, new = destination(named, entry)
    if source.rebase and not old:  # into a folder, under the name of the link that was followed
        old, new = split_path(source.path)[1], source.rebase
    stream = Stream(pieces)
    unpack(stream, folder, old, new)
    _tell(call, stream.count, target if os.path.isabs(target) else os.path.abspath(target))


def _tell(call: Call, count: int, target: str) -> None:
    quiet = call.values["quiet"] if call.values.given("quiet") else not sys.stdout.isatty()
    if not quiet:
        sys.stderr.write(f"Successfully copied {human_size(count, 4)} to {target}\n")


COMMAND = Command(
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    cp,
    (
        Option("-a, --archive", "bool", "Keep the user and group IDs"),
        Option("-L, --follow-link", "bool", "Follow a symbolic link in SRC_PATH"),
        Option("-q, --quiet", "bool", "Say nothing while copying; so it is away from a terminal"),
    ),
    least=2,
    most=2,
    text="Copy files between a container and this machine\n\n"
    "With - as the source, a tar archive is read from standard input and unpacked in the container;\n"
    "with - as the destination, one is written to standard output.",
)
