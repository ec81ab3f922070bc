"""Writing an archive to a file that appears whole or not at all, or to standard output when that is no terminal."""

from __future__ import annotations

import os

from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def check_output(path: str, what: str) -> None:
    """Raise CliError when the archive cannot go there."""
    if not path:
        if os.isatty(1):
            raise CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        return
    folder = os.path.dirname(os.path.normpath(path)) or "."
    try:
        os.stat(os.path.join(folder, "."))
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise CliError(f"failed to {what}: invalid output path: stat {folder}: {reason}") from None
    if os.path.isdir(path):
        raise CliError(f"failed to {what}: cannot write to a directory")
    if os.path.exists(path) and not (os.path.isfile(path) or path == os.devnull):
        raise CliError(f"failed to {what}: cannot write to {path}: it is not a regular file")


def write_stream(pieces: Iterable[bytes], path: str, what: str) -> None:
    """Write all pieces; a file is replaced only when everything has arrived."""
    check_output(path, what)
    if not path or not (os.path.isfile(path) or not os.path.exists(path)):
        from corten.cli.streams import write_all

        target = os.open(path, os.O_WRONLY) if path else 1
        for piece in pieces:
            write_all(target, piece)
        return
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "xb") as file:
            for piece in pieces:
                file.write(piece)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
