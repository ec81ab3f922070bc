"""Where a copy lands and what it is called there: Docker's rules of cp(1)-like naming, as pure functions."""

from __future__ import annotations

import posixpath

from corten.cli.errors import CliError

STDIN = "-"


class Entry:
    """One end of a copy: its path as written, and what is there. `rebase` is its name when a link led elsewhere."""

    __slots__ = ("exists", "is_folder", "path", "rebase")

    def __init__(self, path: str, *, exists: bool = True, is_folder: bool = False, rebase: str = "") -> None:
        self.path = path
        self.exists = exists
        self.is_folder = is_folder
        self.rebase = rebase


def split_argument(text: str) -> tuple[str, str]:
    """(container, path) of `name:/path`; ("", path) for a local path."""
    if text.startswith(("/", ".")) or text == STDIN:
        return "", text
    container, colon, path = text.partition(":")
    if not colon or "/" in container:
        return "", text
    return container, path


def asserts_folder(path: str) -> bool:
    """Whether the path itself says that it is a folder: it ends in a slash or a dot."""
    return path.endswith("/") or posixpath.basename(path) in (".", "..")


def split_path(path: str) -> tuple[str, str]:
    """(folder, last part), where `dir/.` has the last part `.`."""
    if posixpath.basename(path) == ".":
        return posixpath.normpath(path), "."
    clean = posixpath.normpath(path)
    return posixpath.dirname(clean) or ".", posixpath.basename(clean)


def destination(source: Entry, target: Entry) -> tuple[str, str, str]:
    """(folder to unpack in, name in the archive, name to give it instead). Raises CliError."""
    name = source.rebase or split_path(source.path)[1]
    if target.exists and target.is_folder:
        return target.path, "", ""
    folder, base = split_path(target.path)
    if target.exists:
        if source.is_folder:
            raise CliError("cannot copy directory")
        return folder, name, base
    if not source.is_folder and asserts_folder(target.path):
        raise CliError("no such directory")
    return folder, name, base


def renamed(member: str, old: str, new: str) -> str:
    """A member's name with its first part replaced."""
    if not old:  # nothing is renamed, or it is the root directory, whose members begin with a slash
        return f"{new}/{member.lstrip('/')}".rstrip("/") if new else member
    if old == ".":
        rest = member.removeprefix("./") if member.startswith("./") else ("" if member == "." else member)
        return f"{new}/{rest}".rstrip("/") if rest else new
    if member == old or member.startswith(f"{old}/"):
        return new + member[len(old) :]
    return member
