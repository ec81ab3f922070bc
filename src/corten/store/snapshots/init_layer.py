"""The layer between an image and a container: empty mount points, as Docker's `-init` layers. Blocking.

/etc/hosts and its like are mounted over, so they must exist; were they made in the container's own layer, `diff` and
`commit` would show them. One such layer serves all containers of an image. Directories keep the attributes that they
have in the image; a name that is something unexpected there (/etc a link, say) is left out: the runtime resolves it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from corten.store.snapshots.lookup import lookup

_DIRECTORIES = ("dev", "dev/pts", "dev/shm", "dev/mqueue", "proc", "sys", "etc")
_FILES = (".dockerenv", "dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf")


def make_init_layer(target: Path, directories: Sequence[Path]) -> None:
    """Make the layer in `target` for the image whose layers are `directories`, topmost first. Raises OSError."""
    target.mkdir()
    _like(target, lookup(directories, ()))
    left_out: set[str] = set()
    for name in _DIRECTORIES:
        status = lookup(directories, tuple(os.fsencode(part) for part in name.split("/")))
        if os.path.dirname(name) in left_out or (status is not None and not stat.S_ISDIR(status.st_mode)):
            left_out.add(name)
            continue
        (target / name).mkdir()
        _like(target / name, status)
    for name in _FILES:
        if os.path.dirname(name) not in left_out:
            (target / name).touch()
            (target / name).chmod(0o755 if name == ".dockerenv" else 0o644)
    for name in reversed(_DIRECTORIES):  # what was made inside has changed the times
        status = lookup(directories, tuple(os.fsencode(part) for part in name.split("/")))
        if name not in left_out and status is not None:
            os.utime(target / name, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _like(path: Path, status: os.stat_result | None) -> None:
    if status is None:
        path.chmod(0o755)
        return
    os.chown(path, status.st_uid, status.st_gid)
    path.chmod(stat.S_IMODE(status.st_mode))
