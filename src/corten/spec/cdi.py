"""Container Device Interface: what a specification says a device needs of a container. Pure; daemon only.

Source: the CDI specification, version 1.0.0 (JSON; YAML files are the same document). A specification is the
administrator's word, like the engine's configuration; a name (`vendor.com/class=device`) comes from anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from corten.errors import InvalidArgument

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_VENDOR = re.compile(r"[A-Za-z](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
_CLASS = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]*[A-Za-z0-9])?\Z")
_DEVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]*[A-Za-z0-9])?\Z")
_ACCESS = re.compile(r"[rwm]{0,3}\Z")
_NODES = ("", "b", "c", "u")
_NAME_LIMIT = 512


class DeviceNode(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A device node at `path`; it is the host's `host_path`, or the same path there, unless it is described."""

    path: str
    host_path: str = ""
    type: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = "rwm"
    uid: int | None = None
    gid: int | None = None


class DeviceMount(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A mount of `host_path` at `container_path`."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


class DeviceHook(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A program of the host that runs at a point of the container's life (OCI runtime specification, hooks)."""

    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int = 0


class Edits(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """`containerEdits`: what is added to a container."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[DeviceMount, ...] = ()
    hooks: tuple[DeviceHook, ...] = ()
    additional_gids: tuple[int, ...] = msgspec.field(name="additionalGids", default=())
    intel_rdt: dict[str, Any] | None = None
    net_devices: tuple[dict[str, Any], ...] = ()

    def joined(self, other: Edits) -> Edits:
        """These, then the other ones."""
        return Edits(
            env=self.env + other.env,
            device_nodes=self.device_nodes + other.device_nodes,
            mounts=self.mounts + other.mounts,
            hooks=self.hooks + other.hooks,
            additional_gids=self.additional_gids + other.additional_gids,
        )


class Device(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """One device of a kind."""

    name: str
    annotations: dict[str, str | bool | int] = {}
    container_edits: Edits = Edits()


class Specification(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """One file. `container_edits` go with each of its devices."""

    cdi_version: str
    kind: str
    annotations: dict[str, str | bool | int] = {}
    devices: tuple[Device, ...] = ()
    container_edits: Edits = Edits()

    def named(self) -> Iterable[tuple[str, Device]]:
        """The devices by their whole names."""
        return ((f"{self.kind}={device.name}", device) for device in self.devices)


def is_kind(text: str) -> bool:
    """Whether `text` is `vendor.com/class`."""
    vendor, slash, device_class = text.partition("/")
    return bool(slash and len(text) <= _NAME_LIMIT and _VENDOR.match(vendor) and _CLASS.match(device_class))


def is_qualified(text: str) -> bool:
    """Whether `text` is `vendor.com/class=device`."""
    kind, equals, name = text.partition("=")
    return bool(equals and len(text) <= _NAME_LIMIT and is_kind(kind) and _DEVICE.match(name))


def specification_of(document: object) -> Specification:
    """The specification that a decoded file holds. Raises InvalidArgument, which says what is wrong with it."""
    try:
        found = msgspec.convert(document, Specification)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"invalid CDI specification: {error}") from error
    if not is_kind(found.kind):
        raise InvalidArgument(f"invalid CDI specification: invalid kind {found.kind[:64]!r}")
    seen: set[str] = set()
    for name, device in found.named():
        if not is_qualified(name) or name in seen:
            raise InvalidArgument(f"invalid CDI specification: invalid or repeated device name {device.name[:64]!r}")
        seen.add(name)
        _check(device.container_edits, name)
    _check(found.container_edits, found.kind)
    return found


def _check(edits: Edits, name: str) -> None:
    wrong = f"invalid CDI specification: {name}: "
    for field, given in (("intelRdt", edits.intel_rdt), ("netDevices", edits.net_devices)):
        if given:
            raise InvalidArgument(f"{wrong}{field} is not supported by this engine")
    if any("=" not in entry or "\0" in entry for entry in edits.env):
        raise InvalidArgument(f"{wrong}a variable is not NAME=value")
    if bad := next((path for path in _paths(edits) if not path.startswith("/") or "\0" in path), None):
        raise InvalidArgument(f"{wrong}{bad[:128]!r} is no absolute path")
    if any(node.type not in _NODES or not _ACCESS.match(node.permissions) for node in edits.device_nodes):
        raise InvalidArgument(f"{wrong}a device node has an unknown type or permissions")
    if unknown := next((hook.hook_name for hook in edits.hooks if hook.hook_name not in HOOKS), None):
        raise InvalidArgument(f"{wrong}unknown hook {unknown[:64]!r}")
    if other := next((mount.type for mount in edits.mounts if mount.type not in ("", "none", "bind")), None):
        raise InvalidArgument(f"{wrong}mounts of the type {other[:32]!r} are not supported by this engine")


def _paths(edits: Edits) -> list[str]:
    paths = [node.path for node in edits.device_nodes]
    paths += [path for mount in edits.mounts for path in (mount.host_path, mount.container_path)]
    return paths + [hook.path for hook in edits.hooks]


def flag(annotations: Mapping[str, str | bool | int], name: str) -> bool:
    """Whether an annotation says yes, as Go's strconv.ParseBool reads it."""
    return str(annotations.get(name, "")).lower() in ("1", "t", "true")
