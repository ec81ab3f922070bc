"""The mounts and devices of a spec as steps, and which of them need a source that the parent opens. Pure.

The parent opens bind sources and host devices, in the host's mount namespace of that moment; `sources` numbers them
and the steps use the same numbers. Index -1 is the root, where the parent mounts it (user namespaces).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corten.linux.cgroup.mounts import cgroup_mounts
from corten.runtime.options import MountOptions, parse_options
from corten.runtime.steps.base import Step
from corten.runtime.steps.cgroups import CgroupMount
from corten.runtime.steps.devices import device_names
from corten.runtime.steps.mounts import (
    BindDevice,
    BindMount,
    FilesystemMount,
    PrivateProc,
    RebindHostDevices,
    clean_destination,
)

ROOT_SOURCE = -1
# Numbers of host devices that are bound in user namespaces start here.
_DEVICE_BASE = 1000
_DEV_OPTIONS = ("nosuid", "strictatime", "mode=755", "size=65536k")


class MountSource:
    """A source that the parent opens: `path` on the host; `device` is the node's (kind, major, minor), if it is one."""

    __slots__ = ("destination", "idmap", "index", "mount", "path", "recursive")

    def __init__(self, index: int, path: str, *, recursive: bool, destination: str, mount: Mapping[str, Any]) -> None:
        self.index = index
        self.path = path
        self.recursive = recursive
        self.destination = destination
        self.mount = mount
        self.idmap = bool(mount.get("uidMappings")) or bool(
            {"idmap", "ridmap"}.intersection(mount.get("options") or ())
        )


def is_bind(mount: Mapping[str, Any], options: MountOptions) -> bool:
    """Whether an OCI mount is a bind mount (config.md: by its options; by type `bind` too, as runc takes it)."""
    return options.bind or mount.get("type") == "bind"


def mount_sources(spec: Mapping[str, Any], *, user_namespace: bool) -> list[MountSource]:
    """What the parent has to open for `spec`, by index."""
    result = []
    for index, mount in enumerate(spec.get("mounts") or ()):
        options = parse_options(mount.get("options") or ())
        if is_bind(mount, options):
            result.append(
                MountSource(
                    index,
                    mount["source"],
                    recursive=options.recursive,
                    destination=mount["destination"],
                    mount=mount,
                )
            )
    if user_namespace and uses_own_dev(spec):
        for index, path in _host_devices(spec):
            result.append(MountSource(index, path, recursive=False, destination=path, mount={}))
    return result


def uses_own_dev(spec: Mapping[str, Any]) -> bool:
    """Whether /dev is a tmpfs that Corten fills. Only a bind of somebody else's /dev makes it not so."""
    mounts: Sequence[Mapping[str, Any]] = spec.get("mounts") or ()
    for mount in mounts:
        if clean_destination(mount["destination"]) == "/dev":
            bind = is_bind(mount, parse_options(mount.get("options") or ()))
            return not bind and str(mount.get("type")) == "tmpfs"
    return True


def _devices(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list((spec.get("linux") or {}).get("devices") or ())


def _inside_dev(device: Mapping[str, Any]) -> bool:
    return clean_destination(device["path"]).startswith("/dev/")


def _host_devices(spec: Mapping[str, Any]) -> list[tuple[int, str]]:
    names = device_names([device for device in _devices(spec) if _inside_dev(device)])
    return [(_DEVICE_BASE + number, f"/dev/{name}") for number, name in enumerate(names)]


def mount_steps(request: Mapping[str, Any]) -> Iterator[Step]:
    """The mounts in the order of the spec; a /dev of our own comes first when the spec has none."""
    spec = request["spec"]
    devices = [device for device in _devices(spec) if _inside_dev(device)]
    mounts: Sequence[Mapping[str, Any]] = spec.get("mounts") or ()
    own_dev = uses_own_dev(spec)
    default_slave = "shared" not in ((spec.get("linux") or {}).get("rootfsPropagation") or "")
    directories = _directories_in_dev(mounts)
    if not any(clean_destination(mount["destination"]) == "/dev" for mount in mounts):
        yield FilesystemMount("tmpfs", "tmpfs", "/dev", parse_options(_DEV_OPTIONS), devices, directories)
    has_proc = False
    for index, mount in enumerate(mounts):
        options = parse_options(mount.get("options") or ())
        destination, fstype = mount["destination"], mount.get("type") or ""
        source = mount.get("source") or fstype
        if is_bind(mount, options):
            yield BindMount(index, source, destination, options, default_slave=default_slave)
        elif fstype in {"cgroup", "cgroup2"}:
            yield CgroupMount(destination, options, cgroup_mounts(), namespaced="cgroup" in request["own"])
        elif not fstype:
            raise ValueError(f'mount at "{destination}" has no type')
        else:
            is_dev = own_dev and clean_destination(destination) == "/dev"
            if is_dev:
                yield FilesystemMount(fstype, source, destination, options, devices, directories)
            else:
                yield FilesystemMount(fstype, source, destination, options)
            has_proc = has_proc or (fstype == "proc" and clean_destination(destination) == "/proc")
    if not has_proc:
        yield PrivateProc()


def _directories_in_dev(mounts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Mount points of file systems right below /dev (pts, shm, mqueue), which can be made with it."""
    names = []
    for mount in mounts:
        parent, name = os.path.split(clean_destination(mount["destination"]))
        if parent == "/dev" and not is_bind(mount, parse_options(mount.get("options") or ())) and name not in names:
            names.append(name)
    return tuple(names)


def device_steps(request: Mapping[str, Any]) -> Iterator[Step]:
    """Devices outside /dev, and in user namespaces the host's nodes."""
    spec = request["spec"]
    if request.get("user_namespace") and uses_own_dev(spec):
        yield RebindHostDevices(_host_devices(spec))
    elif not request.get("user_namespace"):
        for device in _devices(spec):
            if not _inside_dev(device):
                yield BindDevice(device)
