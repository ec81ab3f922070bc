"""What a build may do beyond a container's usual powers: what its client asks for and the daemon allows. Pure; daemon.

Source: BuildKit's entitlements (`--allow`), with its names and sentences. `network.host` is for RUN --network=host,
`security.insecure` for RUN --security=insecure, `device` (or `device=vendor.com/class=name`) for RUN --device. Nothing
is granted that one of the two does not name; a Dockerfile grants itself nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from corten.build.dockerfile.error import DockerfileError
from corten.build.graph import Vertex, in_order
from corten.build.operations import Device, Run
from corten.errors import Forbidden, InvalidArgument
from corten.spec.cdi import is_kind, is_qualified

NETWORK_HOST = "network.host"
SECURITY_INSECURE = "security.insecure"
DEVICE = "device"
NAMES = (NETWORK_HOST, SECURITY_INSECURE, DEVICE)
DEFAULTS = frozenset({NETWORK_HOST, DEVICE})  # what dockerd allows when its configuration says nothing


class NotAllowed(Forbidden):
    """A client asks for what the daemon's configuration does not allow."""

    code = "entitlement-not-allowed"


@dataclass(frozen=True, slots=True)
class Entitlements:
    """What is granted. `devices` are the names and kinds that `device` is limited to, None for all."""

    names: frozenset[str] = frozenset()
    devices: frozenset[str] | None = None

    def allows_device(self, name: str) -> bool:
        """Whether this device may be used, by its whole name."""
        if DEVICE not in self.names:
            return False
        return self.devices is None or name in self.devices or name.partition("=")[0] in self.devices


def granted(asked: Iterable[str], supported: frozenset[str]) -> Entitlements:
    """What a client gets of what it asks for. Raises InvalidArgument for an unknown name, NotAllowed."""
    names: set[str] = set()
    devices: set[str] | None = set()
    for text in asked:
        name, limited, what = text.partition("=")
        if name not in NAMES or (limited and name != DEVICE):
            raise InvalidArgument(f"unknown entitlement {text[:128]}")
        if name not in supported:
            raise NotAllowed(f"granting entitlement {name} is not allowed by build daemon configuration")
        names.add(name)
        if limited and not (is_qualified(what) or is_kind(what)):
            raise InvalidArgument(f"invalid device {what[:128]!r} of the entitlement {DEVICE}")
        if limited and devices is not None:
            devices.add(what)
        elif name == DEVICE:
            devices = None
    return Entitlements(frozenset(names), frozenset(devices) if devices is not None else None)


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What is noted of a device: whether any build may have it, the class that its vendor gave it, and where its files
    are mounted."""

    is_free: bool = False
    label: str = ""
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Powers:
    """What the daemon can grant: `supported` entitlements, and the devices of the host, asked for where a build wants
    one (blocking)."""

    supported: frozenset[str] = DEFAULTS
    devices: Callable[[], Mapping[str, DeviceInfo]] = dict


def check(target: Vertex, given: Entitlements, devices: Mapping[str, DeviceInfo]) -> None:
    """Raise DockerfileError at the first RUN of a build that needs what was not granted; `devices` are the host's."""
    for vertex in in_order([target]):
        run = vertex.operation
        if not isinstance(run, Run):
            continue
        for needs, name in (
            (run.network == "host", NETWORK_HOST),
            (run.security == "insecure", SECURITY_INSECURE),
        ):
            if needs and name not in given.names:
                raise DockerfileError(f"{name} is not allowed", lines=vertex.lines)
        for device in chosen_of(vertex, devices):
            if not devices[device].is_free and not given.allows_device(device):
                raise DockerfileError(f"device {device} is requested by the build but not allowed", lines=vertex.lines)


def wants_devices(target: Vertex) -> bool:
    """Whether any RUN of a build names a device."""
    return any(isinstance(vertex.operation, Run) and vertex.operation.devices for vertex in in_order([target]))


def chosen_of(vertex: Vertex, devices: Mapping[str, DeviceInfo]) -> list[str]:
    """The devices that a RUN gets, each once. Raises DockerfileError for one that it requires and that is not there."""
    run = vertex.operation
    assert isinstance(run, Run)
    found: dict[str, None] = {}
    for wanted in run.devices:
        matching = chosen(wanted, devices)
        if not matching and wanted.required:
            raise DockerfileError(f'required device "{wanted.name}" is not registered', lines=vertex.lines)
        found.update(dict.fromkeys(matching))
    return list(found)


def chosen(wanted: Device, devices: Mapping[str, DeviceInfo]) -> list[str]:
    """The devices that a name means: itself; the first of a kind (`vendor.com/class`), all (`=*`), or those of a class
    that a vendor's annotation gives."""
    kind, _, name = wanted.name.partition("=")
    of_kind = [one for one in devices if one.startswith(f"{kind}=")]
    if not name:
        return of_kind[:1]
    if name == "*":
        return of_kind
    if wanted.name in devices:
        return [wanted.name]
    return [one for one in of_kind if devices[one].label == name]
