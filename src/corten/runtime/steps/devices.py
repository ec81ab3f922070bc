"""Fill a fresh tmpfs that will be /dev: device nodes and links, OCI config-linux.md "Default Devices". Runs in init.

Nodes are only ever made here, on a tmpfs that nobody else has seen yet, never in the image's /dev (CVE-2026-41579).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from typing import Any

from corten.linux.errors import fail

DEFAULT_DEVICES: tuple[tuple[str, int, int], ...] = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
)
_KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
_MAX_MODE = 0o7777


def device_names(devices: Sequence[dict[str, Any]]) -> list[str]:
    """Paths below /dev of all nodes that `devices` and the defaults make."""
    own = [os.path.normpath(device["path"])[5:] for device in devices]
    return [name for name, _, _ in DEFAULT_DEVICES if name not in own] + own


def populate_dev(dev_fd: int, devices: Sequence[dict[str, Any]], *, nodes: bool, links: bool = True) -> None:
    """Make default devices, `devices` and links below `dev_fd`; without `nodes` only empty files to bind over."""
    own = {os.path.normpath(device["path"])[5:]: device for device in devices}
    if links:
        for name, major, minor in DEFAULT_DEVICES:
            if name in own:
                continue
            if nodes:
                os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(major, minor), dir_fd=dev_fd)
            else:
                _empty_file(dev_fd, name)
    for name, device in own.items():
        _device(dev_fd, name, device, node=nodes)
    if links:
        for name, target in _LINKS:
            if name not in own:
                os.symlink(target, name, dir_fd=dev_fd)
        if "ptmx" not in own:
            os.symlink("pts/ptmx", "ptmx", dir_fd=dev_fd)


def _device(dev_fd: int, name: str, device: dict[str, Any], *, node: bool) -> None:
    parts = name.split("/")
    if not name or ".." in parts or name.startswith("/"):
        fail(errno.EINVAL, "mknod", device["path"])
    parent = dev_fd
    try:
        for part in parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=parent)
            child = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            if parent != dev_fd:
                os.close(parent)
            parent = child
        if not node:
            _empty_file(parent, parts[-1])
            return
        kind = _KINDS.get(device.get("type", ""))
        if kind is None:
            fail(errno.EINVAL, "mknod", device["path"], f"device type {device.get('type')!r} is not one of b, c, u, p")
        mode = device.get("fileMode")
        number = os.makedev(device.get("major") or 0, device.get("minor") or 0)
        os.mknod(parts[-1], (0o666 if mode is None else mode & _MAX_MODE) | kind, number, dir_fd=parent)
        uid, gid = device.get("uid") or 0, device.get("gid") or 0
        if uid or gid:
            os.chown(parts[-1], uid, gid, dir_fd=parent, follow_symlinks=False)
    finally:
        if parent != dev_fd:
            os.close(parent)


def _empty_file(dir_fd: int, name: str) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=dir_fd))
