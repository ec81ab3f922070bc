"""tmpcopyup: copy what lies below a tmpfs into it before it is attached. Runs in init.

The source is the container's own root, so the walk goes by descriptor and follows no link; what is neither file,
directory nor link is left out. The tmpfs's own size limit bounds the copy.
"""

from __future__ import annotations

import os
import stat

_MAX_DEPTH = 64
_CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy_up(source_fd: int, target_fd: int) -> None:
    """Copy the directory `source_fd` (may be O_PATH) into the directory of mount `target_fd`. Raises OSError."""
    source = os.open(".", _READ | os.O_DIRECTORY, dir_fd=source_fd)
    try:
        target = os.open(".", _READ | os.O_DIRECTORY, dir_fd=target_fd)
        try:
            _directory(source, target, _MAX_DEPTH)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _directory(source: int, target: int, depth: int) -> None:
    _attributes(os.fstat(source), target)
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        elif stat.S_ISDIR(status.st_mode) and depth:
            os.mkdir(name, 0o700, dir_fd=target)
            _pair(name, source, target, os.O_DIRECTORY, depth)
        elif stat.S_ISREG(status.st_mode):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target))
            _pair(name, source, target, 0, depth)


def _pair(name: str, source: int, target: int, kind: int, depth: int) -> None:
    inner = os.open(name, _READ | kind, dir_fd=source)
    try:
        copy = os.open(name, (os.O_RDONLY if kind else os.O_WRONLY) | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
        try:
            if kind:
                _directory(inner, copy, depth - 1)
            elif stat.S_ISREG(os.fstat(inner).st_mode):
                while os.sendfile(copy, inner, None, _CHUNK):
                    pass
                _attributes(os.fstat(inner), copy)
        finally:
            os.close(copy)
    finally:
        os.close(inner)


def _attributes(status: os.stat_result, target: int) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
