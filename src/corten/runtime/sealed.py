"""Keep a container from overwriting the interpreter that starts it (CVE-2019-5736).

Until execve, /proc/<pid>/exe of init is the host's interpreter, and `#!/proc/self/exe` even runs it inside the
container, where its executable could then be opened for writing. So the process that all inits are forked from runs
from a read-only mount of its own: a detached copy of the mount its file lies on. A path through /proc/<pid>/exe keeps
that mount, and writing fails with EROFS. Called once, first of all, by the zygote and by the OCI command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from corten.linux.mount import AT_FDCWD, MOUNT_ATTR_RDONLY, OPEN_TREE_CLONE, mount_setattr, open_tree

_MARK = "CORTEN_SEALED"


def is_sealed() -> bool:
    """Whether this process's executable cannot be written through /proc/self/exe."""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def run_sealed(argv: Sequence[str] = ()) -> None:
    """Return when this process is sealed; else execute it again (`argv`, or as it was started) from such a mount.

    Raises OSError when the kernel refuses both, as in a user namespace: the caller decides whether to go on.
    """
    if is_sealed():
        os.environ.pop(_MARK, None)
        return
    if os.environ.pop(_MARK, None):
        raise OSError(30, "the interpreter is writable through /proc/self/exe even when it is run from a sealed mount")
    arguments = list(argv) or sys.orig_argv
    fd = open_tree(AT_FDCWD, os.path.realpath("/proc/self/exe"), OPEN_TREE_CLONE)
    try:
        mount_setattr(fd, attr_set=MOUNT_ATTR_RDONLY)
        os.execve(fd, arguments, {**os.environ, _MARK: "1"})  # noqa: S606 - our own executable
    finally:
        os.close(fd)
