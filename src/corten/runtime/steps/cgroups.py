"""OCI mounts of type `cgroup`: /sys/fs/cgroup as the container sees it. Runs in init.

Version 2: a cgroup2 mount, whose root is that of the cgroup namespace. Version 1 and hybrid: a tmpfs with one mount
for each hierarchy. Without a cgroup namespace of its own the container's part of each hierarchy is bound instead.
All of it is read-only unless the spec says rw (CVE-2022-0492).
"""

from __future__ import annotations

import errno
import os

from corten.linux.cgroup.mounts import CgroupMounts, Hierarchy
from corten.linux.mount import (
    AT_FDCWD,
    MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLONE,
    mount_setattr,
    move_mount,
    new_filesystem,
    open_tree,
)
from corten.runtime.inroot import ensure_in_root
from corten.runtime.options import MountOptions, new_mount_attributes
from corten.runtime.steps.base import Context
from corten.runtime.steps.mounts import MountStep


def parse_memberships(text: str) -> dict[str, str]:
    """/proc/<pid>/cgroup: path by hierarchy, keyed by its controllers or `name=x`, "" for version 2. cgroups(7)."""
    result = {}
    for line in text.splitlines():
        _number, controllers, path = line.split(":", 2)
        result[controllers] = path
    return result


def hierarchy_directory(hierarchy: Hierarchy) -> str:
    """The name of a v1 hierarchy's directory below /sys/fs/cgroup ("cpu,cpuacct", "systemd")."""
    return ",".join(hierarchy.controllers) or hierarchy.name


def _new_hierarchy(hierarchy: Hierarchy, attributes: int) -> int:
    options: list[tuple[str, str | None]] = [("source", "cgroup")]
    options += [(controller, None) for controller in hierarchy.controllers or ("none",)]
    if hierarchy.name:
        options.append(("name", hierarchy.name))
    return new_filesystem("cgroup", options, attributes)


class CgroupMount(MountStep):
    """Show the container its cgroups."""

    __slots__ = ("_mounts", "_namespaced")

    def __init__(self, destination: str, options: MountOptions, mounts: CgroupMounts, *, namespaced: bool) -> None:
        super().__init__("cgroup", destination, options)
        self._mounts = mounts
        self._namespaced = namespaced

    def describe(self) -> str:
        return f"mount cgroup {self._mounts.mode} on {self.destination}"

    def prepare(self, context: Context) -> None:
        if not self._namespaced:
            return
        attributes = new_mount_attributes(self.options)
        if self._mounts.mode == "v2":
            context.prepared["cgroup2", attributes] = self._unified()
            return
        for hierarchy in self._mounts.v1:
            context.prepared["cgroup", hierarchy, attributes] = _new_hierarchy(hierarchy, attributes)

    def run(self, context: Context) -> None:
        target = ensure_in_root(context.root_fd, self.destination, directory=True)
        try:
            if self._mounts.mode == "v2":
                fd = context.prepared.pop(("cgroup2", new_mount_attributes(self.options)), -1)
                fd = fd if fd >= 0 else self._unified()
            else:
                fd = new_filesystem(
                    "tmpfs",
                    [("source", "cgroup"), ("mode", "755")],
                    new_mount_attributes(self.options) & ~MOUNT_ATTR_RDONLY,
                )
            try:
                self.attach(context, fd, target)
                if self._mounts.mode != "v2":
                    self._hierarchies(context, fd)
                    if self.options.read_only:
                        mount_setattr(fd, attr_set=MOUNT_ATTR_RDONLY)
            finally:
                os.close(fd)
        finally:
            os.close(target)

    def _unified(self) -> int:
        attributes = new_mount_attributes(self.options)
        if self._namespaced:
            try:
                return new_filesystem("cgroup2", [("source", "cgroup")], attributes)
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.EBUSY}:
                    raise
        with open("/proc/self/cgroup", encoding="utf-8") as memberships:
            path = parse_memberships(memberships.read()).get("", "/")
        return self._bound(f"{self._mounts.unified}{path}", attributes)

    def _hierarchies(self, context: Context, tmpfs: int) -> None:
        attributes = new_mount_attributes(self.options)
        memberships: dict[str, str] = {}
        if not self._namespaced:
            with open("/proc/self/cgroup", encoding="utf-8") as file:
                memberships = parse_memberships(file.read())
        for hierarchy in self._mounts.v1:
            name = hierarchy_directory(hierarchy)
            os.mkdir(name, 0o755, dir_fd=tmpfs)
            if self._namespaced:
                fd = context.prepared.pop(("cgroup", hierarchy, attributes), -1)
                fd = fd if fd >= 0 else _new_hierarchy(hierarchy, attributes)
            else:
                key = ",".join(hierarchy.controllers) or f"name={hierarchy.name}"
                fd = self._bound(f"{hierarchy.mountpoint}{memberships.get(key, '/')}", attributes)
            try:
                place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=tmpfs)
                try:
                    move_mount(fd, place)
                finally:
                    os.close(place)
            finally:
                os.close(fd)
            if len(hierarchy.controllers) > 1:
                for controller in hierarchy.controllers:
                    os.symlink(name, controller, dir_fd=tmpfs)

    def _bound(self, source: str, attributes: int) -> int:
        fd = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE)
        try:
            mount_setattr(fd, attr_set=attributes)
        except BaseException:
            os.close(fd)
            raise
        return fd
