"""Find the command in the container's PATH, with Go's rules and words. Stdlib only; runs in init as the final user.

Docker's clients read the texts ("executable file not found in $PATH": 127, "permission denied": 126), which come
from Go's os/exec.LookPath in runc.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from corten.linux.errors import reason
from corten.runtime.failure import StartFailed


def go_quoted(text: str) -> str:
    """`text` as Go's %q prints it, for the characters that occur in commands and paths."""
    out = []
    for char in text:
        code = ord(char)
        if char in {'"', "\\"}:
            out.append("\\" + char)
        elif char in "\n\t\r":
            out.append({"\n": "\\n", "\t": "\\t", "\r": "\\r"}[char])
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def _check(path: str) -> tuple[int, str] | None:
    """None when `path` is a file this process may execute, else (errno, Go's words)."""
    try:
        status = os.stat(path)
    except OSError as error:
        number = error.errno or 0
        return number, f"stat {path}: {reason(number)}"
    except ValueError:
        return errno.EINVAL, f"stat {path}: {reason(errno.EINVAL)}"
    if stat.S_ISDIR(status.st_mode):
        return errno.EISDIR, reason(errno.EISDIR)
    if not os.access(path, os.X_OK, effective_ids=True):
        return errno.EACCES, reason(errno.EACCES)
    return None


def look_path(name: str, environment: Sequence[str]) -> str:
    """The path of command `name`. Raises StartFailed worded as runc's."""
    quoted = f"exec: {go_quoted(name)}: "
    if "/" in name:
        problem = _check(name)
        if problem is None:
            return name
        raise StartFailed("exec", problem[0], quoted + problem[1])
    search = next((item[5:] for item in reversed(environment) if item.startswith("PATH=")), "")
    if name:
        for directory in search.split(":") if search else ():
            path = os.path.join(directory or ".", name)
            if _check(path) is None:
                if not path.startswith("/"):
                    raise StartFailed(
                        "exec", errno.EACCES, quoted + "cannot run executable found relative to current directory"
                    )
                return path
    raise StartFailed("exec", errno.ENOENT, quoted + "executable file not found in $PATH")
