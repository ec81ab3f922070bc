"""OCI `mounts`: each is made detached and attached to a descriptor that was resolved inside the root. Runs in init.

No path of the container is ever walked by mount(2). A destination on procfs is refused except for the files that
lxcfs replaces (CVE-2019-16884, CVE-2023-28642), and /proc, /sys and /dev themselves must be real directories
(CVE-2019-19921, CVE-2026-41579).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Any

from corten.linux.errors import fail
from corten.linux.mount import (
    MOUNT_ATTR_RDONLY,
    MS_SLAVE,
    clone_tree,
    mount_setattr,
    move_mount,
    new_filesystem,
)
from corten.linux.pty import filesystem_magic
from corten.runtime.failure import StartFailed
from corten.runtime.inroot import ensure_in_root, open_in_root
from corten.runtime.options import MountOptions, new_mount_attributes
from corten.runtime.steps.base import INIT_PREFIX, Context, Step
from corten.runtime.steps.copyup import copy_up
from corten.runtime.steps.devices import populate_dev

PROC_SUPER_MAGIC = 0x9FA0
_ORDINARY = frozenset({"proc", "sysfs"})
_PREPARABLE = frozenset({"proc", "sysfs", "tmpfs", "devpts", "mqueue"})
# Files of procfs that may be replaced, by lxcfs and the like; runc's list.
_PROC_ALLOWED = frozenset(
    {
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/net/dev",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    }
)


def clean_destination(destination: str) -> str:
    """`destination` as an absolute path without `.`, `..` and double slashes, read as text."""
    return os.path.normpath("/" + destination.lstrip("/"))


class MountStep(Step):
    """Common part of all mounts: where to, and how a failure is worded."""

    __slots__ = ("destination", "options", "source")
    stage = "mount"

    def __init__(self, source: str, destination: str, options: MountOptions) -> None:
        self.source = source
        self.destination = clean_destination(destination)
        self.options = options

    def doing(self) -> str:
        return (
            f'error mounting "{self.source}" to rootfs at "{self.destination}": mount {self.source}:{self.destination}'
        )

    def attach(self, context: Context, mount_fd: int, target_fd: int) -> None:
        """Attach onto the destination unless that is somewhere in procfs; propagation options come last."""
        if filesystem_magic(target_fd) == PROC_SUPER_MAGIC and self.destination not in _PROC_ALLOWED:
            raise StartFailed(
                self.stage,
                errno.EPERM,
                f'{INIT_PREFIX}error mounting "{self.source}" to rootfs at "{self.destination}": '
                f'"{self.destination}" cannot be mounted because it is inside /proc',
            )
        move_mount(mount_fd, target_fd)
        for propagation, recursive in self.options.propagations:
            mount_setattr(mount_fd, propagation=propagation, recursive=recursive)


class FilesystemMount(MountStep):
    """A new file system: proc, sysfs, tmpfs, devpts, mqueue, or any other type of the kernel."""

    __slots__ = ("_devices", "_directories", "_fstype")

    def __init__(
        self,
        fstype: str,
        source: str,
        destination: str,
        options: MountOptions,
        devices: list[dict[str, Any]] | None = None,
        directories: Sequence[str] = (),
    ) -> None:
        super().__init__(source, destination, options)
        self._fstype = fstype
        self._devices = devices  # on the tmpfs that is /dev: the nodes to make
        self._directories = directories  # and the mount points of later mounts

    def describe(self) -> str:
        return f"mount {self._fstype} on {self.destination}"

    def run(self, context: Context) -> None:
        ordinary = self._fstype in _ORDINARY or self.destination == "/dev"
        target, existing_mode = self._open_target(context, ordinary=ordinary)
        try:
            mount_fd = context.prepared.pop(self._key(), -1)
            if mount_fd < 0:
                mount_fd = self._make(context, target, existing_mode)
            try:
                self.attach(context, mount_fd, target)
                self._keep(context, mount_fd)
            except BaseException:
                os.close(mount_fd)
                raise
        finally:
            os.close(target)

    def _open_target(self, context: Context, *, ordinary: bool) -> tuple[int, int | None]:
        try:
            target = open_in_root(context.root_fd, self.destination, symlinks=not ordinary)
            return target, stat.S_IMODE(os.fstat(target).st_mode)
        except OSError as error:
            if ordinary and error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise StartFailed(
                    self.stage,
                    error.errno,
                    f'{INIT_PREFIX}filesystem "{self._fstype}" must be mounted on ordinary directory',
                ) from error
            if error.errno != errno.ENOENT:
                raise
        return ensure_in_root(context.root_fd, self.destination, directory=True, symlinks=not ordinary), None

    def _key(self) -> tuple[Any, ...]:
        """What two mounts must have in common to be the same before they are attached."""
        options = self.options
        content = repr((self._devices, self._directories)) if self._devices is not None else ""
        return self._fstype, self.source, tuple(options.data), new_mount_attributes(options), content

    def prepare(self, context: Context) -> None:
        has_mode = any(key == "mode" for key, _ in self.options.data)
        if self._fstype in _PREPARABLE and not self.options.tmpcopyup and (has_mode or self._fstype != "tmpfs"):
            context.prepared[self._key()] = self._make(context, -1, None)

    def _make(self, context: Context, target: int, existing_mode: int | None) -> int:
        mount_fd = self._new(target, existing_mode)
        if self._devices is not None:
            try:
                populate_dev(mount_fd, self._devices, nodes=not context.request.get("user_namespace"))
                for name in self._directories:
                    os.mkdir(name, 0o755, dir_fd=mount_fd)
            except BaseException:
                os.close(mount_fd)
                raise
        return mount_fd

    def _new(self, target: int, existing_mode: int | None) -> int:
        data = self.options.data
        if self._fstype == "tmpfs" and existing_mode is not None and not any(key == "mode" for key, _ in data):
            data = [*data, ("mode", f"{existing_mode:o}")]
        attributes = new_mount_attributes(self.options)
        source: list[tuple[str, str | None]] = [("source", self.source or self._fstype)]
        if not self.options.tmpcopyup:
            return new_filesystem(self._fstype, [*source, *data], attributes)
        mount_fd = new_filesystem(self._fstype, [*source, *data], attributes & ~MOUNT_ATTR_RDONLY)
        try:
            if existing_mode is not None:
                copy_up(target, mount_fd)
            if attributes & MOUNT_ATTR_RDONLY:
                mount_setattr(mount_fd, attr_set=MOUNT_ATTR_RDONLY)
        except BaseException:
            os.close(mount_fd)
            raise
        return mount_fd

    def _keep(self, context: Context, mount_fd: int) -> None:
        if self.destination == "/proc" and self._fstype == "proc":
            context.proc_fd = mount_fd
        elif self.destination == "/dev":
            context.dev_fd = mount_fd
        elif self.destination == "/dev/pts" and self._fstype == "devpts":
            context.devpts_fd = mount_fd
        else:
            os.close(mount_fd)


class BindMount(MountStep):
    """A bind mount whose source the parent opened: `index` names its descriptor."""

    __slots__ = ("_default_slave", "_index")

    def __init__(
        self, index: int, source: str, destination: str, options: MountOptions, *, default_slave: bool
    ) -> None:
        super().__init__(source, destination, options)
        self._index = index
        self._default_slave = default_slave

    def describe(self) -> str:
        return f"bind {self.source} on {self.destination}"

    def run(self, context: Context) -> None:
        mount_fd = context.sources.pop(self._index)
        options = self.options
        try:
            is_directory = stat.S_ISDIR(os.fstat(mount_fd).st_mode)
            if options.attr_set or options.attr_clr:
                mount_setattr(mount_fd, attr_set=options.attr_set, attr_clr=options.attr_clr)
            if options.rec_set or options.rec_clr:
                mount_setattr(mount_fd, attr_set=options.rec_set, attr_clr=options.rec_clr, recursive=True)
            if not options.propagations and self._default_slave:
                mount_setattr(mount_fd, propagation=MS_SLAVE, recursive=True)
            target = ensure_in_root(context.root_fd, self.destination, directory=is_directory)
            try:
                if is_directory != stat.S_ISDIR(os.fstat(target).st_mode):
                    fail(errno.ENOTDIR, "move_mount", self.destination)
                self.attach(context, mount_fd, target)
            finally:
                os.close(target)
        finally:
            os.close(mount_fd)


class PrivateProc(Step):
    """A procfs of our own for writes into /proc when the container gets none: never attached anywhere."""

    __slots__ = ()
    stage = "proc"

    def describe(self) -> str:
        return "open a private procfs"

    def run(self, context: Context) -> None:
        context.proc_fd = new_filesystem("proc", [])


class RebindHostDevices(Step):
    """In a user namespace, where mknod is refused: bind the host's device nodes over empty files in /dev."""

    __slots__ = ("_paths",)
    stage = "devices"

    def __init__(self, paths: list[tuple[int, str]]) -> None:
        self._paths = paths

    def describe(self) -> str:
        return f"bind {len(self._paths)} devices of the host"

    def run(self, context: Context) -> None:
        for index, path in self._paths:
            mount_fd = context.sources.pop(index)
            try:
                target = ensure_in_root(context.root_fd, path, directory=False, symlinks=False)
                try:
                    move_mount(mount_fd, target)
                finally:
                    os.close(target)
            finally:
                os.close(mount_fd)


class BindDevice(Step):
    """A device outside /dev: its node is made in our own /dev, bound over a file in the root, and unlinked."""

    __slots__ = ("_device",)
    stage = "devices"

    def __init__(self, device: dict[str, Any]) -> None:
        self._device = device

    def describe(self) -> str:
        return f"device {self._device['path']}"

    def run(self, context: Context) -> None:
        if context.dev_fd < 0:
            fail(errno.ENODEV, "mknod", self._device["path"], "devices need a /dev of the container's own")
        name = ".corten-device"
        target = ensure_in_root(context.root_fd, self._device["path"], directory=False)
        try:
            populate_dev(context.dev_fd, [{**self._device, "path": f"/dev/{name}"}], nodes=True, links=False)
            node = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=context.dev_fd)
            try:
                clone = clone_tree(node)
                try:
                    move_mount(clone, target)
                finally:
                    os.close(clone)
            finally:
                os.close(node)
                os.unlink(name, dir_fd=context.dev_fd)
        finally:
            os.close(target)
