"""--mount type=...,source=...,target=...: a record of Docker's Mount."""

from __future__ import annotations

import os

from corten.cli.create.csv_fields import split_fields
from corten.cli.human_size import parse_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))
_SWITCHES = frozenset(("readonly", "ro", "volume-nocopy", "bind-nonrecursive"))
_RECURSIVE = ("enabled", "disabled", "writable", "readonly")


class _Mount:
    """The record while its fields are read."""

    def __init__(self) -> None:
        self.record: dict[str, Any] = {"Type": "volume"}
        self.volume: dict[str, Any] = {}
        self.bind: dict[str, Any] = {}
        self.tmpfs: dict[str, Any] = {}
        self.image: dict[str, Any] = {}

    def driver(self) -> dict[str, Any]:
        """The volume driver's part."""
        found: dict[str, Any] = self.volume.setdefault("DriverConfig", {})
        return found


def parse_mount(text: str) -> dict[str, Any]:
    """The record to send. Raises ValueError with the words of Docker's client."""
    text = text.strip()
    if not text:
        raise ValueError("EOF")
    mount = _Mount()
    for field in split_fields(text):
        name, equals, value = field.partition("=")
        name = name.lower()
        if not equals:
            if name not in _SWITCHES:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        _set(mount, name, value, field)
    return _checked(mount)


def _set(mount: _Mount, name: str, value: str, field: str) -> None:  # noqa: C901 - a list of cases, flat on purpose
    record = mount.record
    if name == "type":
        record["Type"] = value.lower()
    elif name in ("source", "src"):
        record["Source"] = value
        if value.startswith("." + os.sep) or value == ".":
            record["Source"] = os.path.abspath(value)
    elif name in ("target", "dst", "destination"):
        record["Target"] = value
    elif name in ("readonly", "ro"):
        record["ReadOnly"] = _switch(name, value)
    elif name == "consistency":
        record["Consistency"] = value.lower()
    elif name.startswith("bind-"):
        _set_bind(mount, name, value, field)
    elif name.startswith("volume-"):
        _set_volume(mount, name, value, field)
    elif name == "image-subpath":
        mount.image["Subpath"] = value
    elif name == "tmpfs-size":
        try:
            mount.tmpfs["SizeBytes"] = parse_bytes(value)
        except ValueError:
            raise ValueError(f"invalid value for {name}: {value}") from None
    elif name == "tmpfs-mode":
        try:
            mount.tmpfs["Mode"] = int(value, 8)
        except ValueError:
            raise ValueError(f"invalid value for {name}: {value}") from None
    else:
        raise ValueError(f"unexpected key '{name}' in '{field}'")


def _set_bind(mount: _Mount, name: str, value: str, field: str) -> None:
    if name == "bind-propagation":
        mount.bind["Propagation"] = value.lower()
    elif name == "bind-nonrecursive":
        mount.bind["NonRecursive"] = _switch(name, value)
    elif name == "bind-recursive":
        if value not in _RECURSIVE:
            raise ValueError(
                f'invalid value for {name}: {value} (must be "enabled", "disabled", "writable", or "readonly")'
            )
        settings = {
            "disabled": "NonRecursive",
            "writable": "ReadOnlyNonRecursive",
            "readonly": "ReadOnlyForceRecursive",
        }
        if value in settings:
            mount.bind[settings[value]] = True
    else:
        raise ValueError(f"unexpected key '{name}' in '{field}'")


def _set_volume(mount: _Mount, name: str, value: str, field: str) -> None:
    if name == "volume-nocopy":
        mount.volume["NoCopy"] = _switch(name, value)
    elif name == "volume-label":
        key, _, text = value.partition("=")
        mount.volume.setdefault("Labels", {})[key] = text
    elif name == "volume-subpath":
        mount.volume["Subpath"] = value
    elif name == "volume-driver":
        mount.driver()["Name"] = value
    elif name == "volume-opt":
        key, _, text = value.partition("=")
        mount.driver().setdefault("Options", {})[key] = text
    else:
        raise ValueError(f"unexpected key '{name}' in '{field}'")


def _switch(name: str, value: str) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise ValueError(f"invalid value for {name}: {value}")


def _checked(mount: _Mount) -> dict[str, Any]:
    record = mount.record
    kind = record["Type"]
    if not kind:
        raise ValueError("type is required")
    if not record.get("Target"):
        raise ValueError("target is required")
    for part, field, owner in (
        (mount.volume, "VolumeOptions", "volume"),
        (mount.bind, "BindOptions", "bind"),
        (mount.tmpfs, "TmpfsOptions", "tmpfs"),
        (mount.image, "ImageOptions", "image"),
    ):
        if part and kind != owner:
            raise ValueError(f"cannot mix '{owner}-*' options with mount type '{kind}'")
        if part:
            record[field] = part
    if mount.bind.get("ReadOnlyForceRecursive") or mount.bind.get("ReadOnlyNonRecursive"):
        word = "readonly" if mount.bind.get("ReadOnlyForceRecursive") else "writable"
        if not record.get("ReadOnly"):
            raise ValueError(f"option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction")
        if word == "readonly" and mount.bind.get("Propagation") != "rprivate":
            raise ValueError(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction"
            )
    return record
