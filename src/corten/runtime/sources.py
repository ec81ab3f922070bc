"""Open what a container's mounts come from, in the host's view of now. Runs in the parent (shim, command line).

Bind sources are cloned here and travel to init as detached mounts: init's copy of the mount table may be older than
the request, and in a user namespace it could neither reach them nor idmap them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from corten.linux.errors import fail
from corten.linux.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    FSCONFIG_VALUE_MAX,
    MOUNT_ATTR_IDMAP,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsconfig_string,
    fsmount,
    fsopen,
    mount_setattr,
    open_tree,
)
from corten.runtime.failure import StartFailed
from corten.runtime.mappings import mapping_namespace
from corten.runtime.mountplan import ROOT_SOURCE, MountSource, mount_sources
from corten.runtime.steps.base import INIT_PREFIX
from corten.runtime.steps.devices import DEFAULT_DEVICES


def open_sources(spec: Mapping[str, Any], *, bundle: str, pid: int, user_namespace: bool) -> dict[int, int]:
    """Detached mounts of all bind sources of `spec`, by their number; the caller closes them. Raises StartFailed."""
    result: dict[int, int] = {}
    try:
        for source in mount_sources(spec, user_namespace=user_namespace):
            try:
                result[source.index] = _open(source, spec, bundle=bundle, pid=pid)
            except OSError as error:
                doing = f'error mounting "{source.path}" to rootfs at "{source.destination}": mount {source.path}'
                failed = StartFailed.from_error("mount", error, doing)
                failed.text = INIT_PREFIX + failed.text
                raise failed from error
    except BaseException:
        for fd in result.values():
            os.close(fd)
        raise
    return result


def _open(source: MountSource, spec: Mapping[str, Any], *, bundle: str, pid: int) -> int:
    path = source.path if source.path.startswith("/") else os.path.join(bundle, source.path)
    fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | (AT_RECURSIVE if source.recursive else 0))
    try:
        if not source.mount:
            _check_device(fd, source.path, spec)
        if source.idmap:
            _idmap(fd, source.mount, pid)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_device(fd: int, path: str, spec: Mapping[str, Any]) -> None:
    """The node of the host must be the device that the container was promised."""
    wanted = {f"/dev/{name}": ("c", major, minor) for name, major, minor in DEFAULT_DEVICES}
    for device in (spec.get("linux") or {}).get("devices") or ():
        wanted[os.path.normpath(device["path"])] = device["type"], device.get("major") or 0, device.get("minor") or 0
    kind, major, minor = wanted[path]
    status = os.fstat(fd)
    right_kind = stat.S_ISBLK(status.st_mode) if kind == "b" else stat.S_ISCHR(status.st_mode)
    if not right_kind or status.st_rdev != os.makedev(major, minor):
        fail(errno.ENODEV, "open", path, f"the host's node is not device {kind} {major}:{minor}")


def _idmap(fd: int, mount: Mapping[str, Any], pid: int) -> None:
    """Idmap a detached mount by its own mappings, or by those of the container's user namespace."""
    if mount.get("uidMappings") or mount.get("gidMappings"):
        userns_fd = mapping_namespace(mount.get("uidMappings") or (), mount.get("gidMappings") or ())
    else:
        userns_fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        recursive = "ridmap" in (mount.get("options") or ())
        mount_setattr(fd, attr_set=MOUNT_ATTR_IDMAP, userns_fd=userns_fd, recursive=recursive)
    finally:
        os.close(userns_fd)


def open_root(spec: Mapping[str, Any], rootfs: Mapping[str, Any] | None) -> dict[int, int]:
    """The root as a detached mount, for a container whose user namespace may not mount it itself."""
    if rootfs is None or rootfs["type"] == "bind":
        path = rootfs["source"] if rootfs else spec["root"]["path"]
        return {ROOT_SOURCE: open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE)}
    directory = rootfs["dir"]
    fs_fd = fsopen("overlay")
    try:
        _lower_layers(fs_fd, directory, rootfs["lower"])
        if rootfs.get("upper"):
            _overlay_path(fs_fd, "upperdir", directory, rootfs["upper"])
            _overlay_path(fs_fd, "workdir", directory, rootfs["work"])
        for key, value in (("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")):
            fsconfig_string(fs_fd, key, value)
        fsconfig_create(fs_fd)
        return {ROOT_SOURCE: fsmount(fs_fd)}
    finally:
        os.close(fs_fd)


def _lower_layers(fs_fd: int, directory: str, layers: Sequence[str]) -> None:
    """One option a layer (Linux 6.5), or all in one, which holds few of them."""
    try:
        for layer in layers:
            _overlay_path(fs_fd, "lowerdir+", directory, layer)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        joined = ":".join(os.path.join(directory, layer) for layer in layers)
        if len(os.fsencode(joined)) >= FSCONFIG_VALUE_MAX:
            fail(errno.E2BIG, "fsconfig", directory, "so many layers in a user namespace need Linux 6.5")
        fsconfig_string(fs_fd, "lowerdir", joined)


def _overlay_path(fs_fd: int, key: str, directory: str, path: str) -> None:
    full = os.path.join(directory, path)
    if len(os.fsencode(full)) >= FSCONFIG_VALUE_MAX:
        fail(errno.ENAMETOOLONG, "fsconfig", full, "a shorter data root is needed with user namespaces")
    fsconfig_string(fs_fd, key, full)
