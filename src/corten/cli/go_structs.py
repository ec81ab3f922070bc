"""What Go's typed structs show where JSON has null or nothing, for templates over inspected objects.

Docker's client decodes into structs: a missing list prints `[]`, a missing map `map[]`, a missing text nothing. The
names below are those fields of the API's objects that can be null or left out.
"""

from __future__ import annotations

from corten.cli.template.printing import Nil, NullList, NullMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LISTS = frozenset(
    (
        "Aliases", "Binds", "BlkioDeviceReadBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteBps", "BlkioDeviceWriteIOps",
        "BlkioWeightDevice", "CapAdd", "CapDrop", "Cmd", "DNSNames", "DeviceCgroupRules", "DeviceRequests", "Devices",
        "Dns", "DnsOptions", "DnsSearch", "Entrypoint", "Env", "ExecIDs", "ExtraHosts", "GroupAdd", "LinkLocalIPs",
        "Links", "Log", "MaskedPaths", "Mounts", "OnBuild", "ReadonlyPaths", "RepoDigests", "RepoTags",
        "SecondaryIPAddresses", "SecondaryIPv6Addresses", "SecurityOpt", "Shell", "Test", "Ulimits", "VolumesFrom",
    )
)  # fmt: skip
_MAPS = frozenset(
    (
        "Annotations", "ContainerIDs", "DriverOpts", "ExposedPorts", "Labels", "Networks", "Options", "PortBindings",
        "Ports", "Services", "Status", "StorageOpt", "Sysctls", "Tmpfs", "Volumes",
    )
)  # fmt: skip
_TEXTS = frozenset(
    ("Architecture", "Author", "Comment", "Container", "DockerVersion", "ImageManifestDescriptor", "MacAddress", "Os",
     "OsVersion", "Parent", "Platform", "Propagation", "Runtime", "StopSignal", "Variant", "Consistency", "Subpath")
)  # fmt: skip
_POINTERS = frozenset(
    ("Health", "Healthcheck", "Init", "StopTimeout", "SizeRw", "SizeRootFs", "IPAMConfig", "OomKillDisable",
     "PidsLimit", "MemorySwappiness", "UsageData", "BindOptions", "VolumeOptions", "TmpfsOptions", "ImageOptions")
)  # fmt: skip
_SWITCHES = frozenset(("ArgsEscaped", "NetworkDisabled", "ReadOnly"))


def omitted_field(name: str) -> Any:
    """The zero value of a field that the object does not have; KeyError for a name that no object has."""
    if name in _LISTS:
        return NullList()
    if name in _MAPS:
        return NullMap()
    if name in _TEXTS:
        return ""
    if name in _SWITCHES:
        return False
    if name in _POINTERS:
        return Nil()
    raise KeyError(name)


def with_go_zeros(value: Any, name: str = "") -> Any:
    """The object with null lists and maps in place of None."""
    if value is None:
        if name in _LISTS:
            return NullList()
        return NullMap() if name in _MAPS else Nil()
    if isinstance(value, dict):
        if name in _MAPS:
            value = {key: value[key] for key in sorted(value)}
        if name in ("Ports", "PortBindings"):
            return {key: NullList() if item is None else item for key, item in value.items()}
        return {key: with_go_zeros(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [with_go_zeros(item) for item in value]
    return value
