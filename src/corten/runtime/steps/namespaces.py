"""Enter namespaces by path, leave those not wanted, make the rest: namespaces(7), OCI `linux.namespaces`.

Runs in init, first of all. pid, user and time namespaces are settled by clone (see runtime/launch.py). The cgroup
namespace is unshared here, when init already sits in its cgroup, since a cgroup namespace's root is the cgroup of the
process that makes it (cgroup_namespaces(7)); the mount namespace too, so that it is a copy of the host's mounts of now
and not of the time when this process was made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from corten.linux.credentials import join_session_keyring
from corten.linux.mount import MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, mount
from corten.linux.namespaces import TYPES, setns, unshare
from corten.runtime.steps.base import Context, Step

ROOT_PROPAGATION = {
    "": MS_SLAVE | MS_REC,
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}
# File systems whose content belongs to a namespace.
_SHOWS = {"network": ("sysfs",), "ipc": ("mqueue",), "cgroup": ("cgroup", "cgroup2")}


class EnterNamespaces(Step):
    """setns into the namespaces whose descriptors the parent sent."""

    __slots__ = ("_kinds",)
    stage = "namespaces"

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = kinds

    def describe(self) -> str:
        return f"enter the {', '.join(self._kinds)} namespace"

    def run(self, context: Context) -> None:
        for kind in self._kinds:
            fd = context.namespace_fds[kind]
            setns(fd, TYPES[kind][0])
            os.close(fd)
            _forget_prepared(context, kind)


class NewNamespaces(Step):
    """unshare into new namespaces."""

    __slots__ = ("_kinds",)
    stage = "namespaces"

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = kinds

    def describe(self) -> str:
        return f"make a new {', '.join(self._kinds)} namespace"

    def prepare(self, context: Context) -> None:
        if "cgroup" in self._kinds:
            unshare(TYPES["cgroup"][0])
            context.prepared_namespaces.add("cgroup")

    def run(self, context: Context) -> None:
        flags = 0
        for kind in self._kinds:
            if kind not in context.prepared_namespaces:
                flags |= TYPES[kind][0]
                _forget_prepared(context, kind)
        if flags:
            unshare(flags)


def _forget_prepared(context: Context, kind: str) -> None:
    """What was prepared shows the namespace that is left. Mounts are closed with all descriptors, the socket now."""
    for key in [key for key in context.prepared if key[0] in _SHOWS.get(kind, ())]:
        del context.prepared[key]
    if kind == "network" and context.netlink is not None:
        context.netlink.close()
        context.netlink = None


class DetachFromHost(Step):
    """Keep the host's mounts from seeing what is mounted here (mount_namespaces(7), OCI `rootfsPropagation`)."""

    __slots__ = ("_propagation",)
    stage = "rootfs"

    def __init__(self, propagation: str) -> None:
        if propagation not in ROOT_PROPAGATION:
            raise ValueError(f"rootfsPropagation={propagation} is not supported")
        self._propagation = propagation

    def describe(self) -> str:
        return f"make all mounts {self._propagation or 'rslave'}"

    def run(self, context: Context) -> None:
        # "unbindable" is for the container's root (PivotRoot): the host's must be bindable a little longer.
        mount(None, "/", None, ROOT_PROPAGATION[self._propagation.replace("unbindable", "private")])


class JoinKeyring(Step):
    """A session keyring of the container's own (session-keyring(7)); keyrings are not namespaced."""

    __slots__ = ("_name",)
    stage = "keyring"

    def __init__(self, name: str) -> None:
        self._name = name

    def describe(self) -> str:
        return f"join session keyring {self._name}"

    def run(self, context: Context) -> None:
        try:
            join_session_keyring(self._name)
        except OSError as error:
            if error.errno != 38:  # ENOSYS: a kernel without keyrings
                raise
