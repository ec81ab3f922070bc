"""Devices by CDI name: the files of /etc/cdi and /var/run/cdi, and what a container gets of them. Daemon; blocking.

The files are read when a device is asked for, so that a new driver's specification counts at once. A later directory's
device replaces that of an earlier one; two files of one directory that have the same device make it unusable, and a
file that cannot be read is told in the log and left out, as in the CDI library.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from corten.engine.containers.devices import Devices, node_at
from corten.engine.containers.record import MountRecord
from corten.errors import CortenError, InvalidArgument
from corten.lib import codec
from corten.spec.cdi import Device, DeviceMount, DeviceNode, Edits, Specification, is_qualified, specification_of
from corten.spec.docker.hostconfig import DeviceRequest

DRIVER = "cdi"
DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
_LOG = logging.getLogger(__name__)
_FILE_LIMIT = 8 << 20
_FILES_LIMIT = 512
_PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")


@dataclass(frozen=True, slots=True)
class Known:
    """A device and the file it stands in; `annotations` are the file's with its own over them."""

    name: str
    device: Device
    specification: Specification

    @property
    def annotations(self) -> Mapping[str, str | bool | int]:
        """All that is noted of it."""
        return {**self.specification.annotations, **self.device.annotations}


class CdiDevices(Protocol):
    """Who knows devices."""

    def known(self) -> Mapping[str, Known]:
        """Every device, by name, sorted."""

    def edits(self, names: Iterable[str]) -> Edits:
        """What these devices need together. Raises InvalidArgument."""


class CdiDirectories:
    """The devices of some directories' files, the last directory first in rank."""

    def __init__(self, directories: Sequence[str] = DIRECTORIES) -> None:
        self._directories = directories

    def known(self) -> Mapping[str, Known]:
        """Every device, by name, sorted. Blocking."""
        found: dict[str, Known] = {}
        for directory in self._directories:
            here: dict[str, Known] = {}
            twice: set[str] = set()
            for specification in _specifications(directory):
                for name, device in specification.named():
                    if name in here:
                        twice.add(name)
                    here[name] = Known(name, device, specification)
            for name in twice:
                _LOG.warning("CDI device %s is in two files of %s: it cannot be used", name, directory)
            found.update(here)
            for name in twice:
                found.pop(name, None)
        return dict(sorted(found.items()))

    def edits(self, names: Iterable[str]) -> Edits:
        """What these devices need together, each file's own edits once. Blocking. Raises InvalidArgument."""
        names, known = list(dict.fromkeys(names)), self.known()
        missing = [name for name in names if name not in known]
        if missing:
            raise InvalidArgument(f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)[:512]}")
        result, seen = Edits(), set[int]()
        for name in names:
            one = known[name]
            if id(one.specification) not in seen:
                seen.add(id(one.specification))
                result = result.joined(one.specification.container_edits)
            result = result.joined(one.device.container_edits)
        return result


def names_of(requests: Sequence[DeviceRequest]) -> list[str]:
    """The CDI names of `--device` and its like."""
    return [name for request in requests if request.driver == DRIVER for name in request.device_ids or ()]


def check_request(request: DeviceRequest) -> None:
    """What create can refuse. Raises InvalidArgument with Docker's texts."""
    if request.driver != DRIVER:
        wanted = request.driver or [word for words in request.capabilities or () for word in words]
        raise InvalidArgument(f'could not select device driver "{request.driver}" with capabilities: [{wanted}]')
    for name in request.device_ids or ():
        if not is_qualified(name):
            raise InvalidArgument(f'invalid device specification: unqualified CDI device "{name[:128]}"')


def device_nodes(edits: Edits) -> Devices:
    """OCI `linux.devices`, and the cgroup rules for them. Blocking. Raises InvalidArgument."""
    nodes, rules = [], []
    for wanted in edits.device_nodes:
        node = _node(wanted)
        nodes.append(node)
        if node["type"] in ("b", "c", "u"):
            about = {"type": "c" if node["type"] == "u" else node["type"], "access": wanted.permissions or "rwm"}
            rules.append({"allow": True, "major": node["major"], "minor": node["minor"], **about})
    return nodes, rules


def mount_records(edits: Edits) -> list[MountRecord]:
    """The mounts, as those of a container."""
    return [_mount(mount) for mount in edits.mounts]


def apply(edits: Edits, spec: dict[str, Any]) -> None:
    """Put variables, groups and hooks into an OCI configuration."""
    process = spec["process"]
    given = {entry.partition("=")[0]: entry for entry in (*process["env"], *edits.env)}
    process["env"] = list(given.values())
    groups = [*process["user"].get("additionalGids", ()), *(gid for gid in edits.additional_gids if gid)]
    process["user"]["additionalGids"] = list(dict.fromkeys(groups))
    for hook in edits.hooks:
        made: dict[str, Any] = {"path": hook.path, "args": list(hook.args), "env": list(hook.env)}
        if hook.timeout > 0:
            made["timeout"] = hook.timeout
        spec.setdefault("hooks", {}).setdefault(hook.hook_name, []).append(made)


def _node(wanted: DeviceNode) -> dict[str, Any]:
    if wanted.type and (wanted.major or wanted.minor):
        node = {"path": wanted.path, "type": wanted.type, "major": wanted.major, "minor": wanted.minor}
        given = {"fileMode": wanted.file_mode, "uid": wanted.uid, "gid": wanted.gid}
        return {**node, **{name: value for name, value in given.items() if value is not None}}
    node = node_at(wanted.host_path or wanted.path, wanted.path)
    given = {"fileMode": wanted.file_mode, "uid": wanted.uid, "gid": wanted.gid}
    return {**node, **{name: value for name, value in given.items() if value is not None}}


def _mount(mount: DeviceMount) -> MountRecord:
    options = [word for word in mount.options if word not in ("bind", "rbind", "ro", "rw")]
    propagation = next((word for word in options if word in _PROPAGATIONS), "rprivate")
    return MountRecord(
        type="bind",
        source=os.path.normpath(mount.host_path),
        destination=os.path.normpath(mount.container_path),
        read_only="ro" in mount.options,
        read_only_recursive=False,
        recursive="bind" not in mount.options,
        propagation=propagation,
        options=tuple(word for word in options if word not in _PROPAGATIONS),
    )


def _specifications(directory: str) -> Iterable[Specification]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith((".json", ".yaml", ".yml")))
    except OSError:  # there is none
        return
    for name in names[:_FILES_LIMIT]:
        path = os.path.join(directory, name)
        try:
            yield specification_of(_document(path))
        except (CortenError, OSError, ValueError) as error:
            _LOG.warning("CDI specification %s is left out: %s", path, error)


def _document(path: str) -> object:
    """A file's content. Raises InvalidArgument, OSError."""
    with open(path, "rb") as file:
        data = file.read(_FILE_LIMIT + 1)
    if len(data) > _FILE_LIMIT:
        raise InvalidArgument(f"it is larger than {_FILE_LIMIT} bytes")
    if path.endswith(".json"):
        return codec.decode(object, data)
    import yaml  # costs 10 ms, and most hosts have no such file

    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidArgument(f"invalid YAML: {error}") from error
