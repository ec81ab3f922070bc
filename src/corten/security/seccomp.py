"""Seccomp profiles in Docker's format, resolved to OCI `linux.seccomp` for one container. Daemon.

A profile is a template: rules with `includes` and `excludes` (capabilities, architectures, kernel) and an `archMap`.
The default one is profiles/default.json: what Docker's allows, and stricter where that leaks (AF_ALG, AF_VSOCK,
i386 socketcall, x32). The result goes to corten.linux.seccomp, which compiles it.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from corten.errors import InvalidArgument

# Go's names of architectures, as `includes.arches` has them, and the OCI name of each.
_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_SCMP_ARCH = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "386": "SCMP_ARCH_X86",
}
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_MAX_BYTES = 4 << 20


def default_profile(
    caps: Iterable[str], arch: str = "", kernel: str = "", *, block_tiocsti: bool = False
) -> dict[str, Any]:
    """The default profile for a container with capabilities `caps`, as OCI `linux.seccomp`.

    `arch` is a machine name (x86_64; this one if empty), `kernel` a release ("6.1.0"). `block_tiocsti` also refuses
    to push input into a terminal (TIOCSTI, TIOCLINUX), which Docker allows.
    """
    profile = _resolve(_default_template(), frozenset(caps), arch, kernel)
    if block_tiocsti:
        rules = [_masked_refusal("ioctl", 1, request) for request in (_TIOCSTI, _TIOCLINUX)]
        profile["syscalls"] = [*rules, *profile["syscalls"]]
    return profile


def load_profile(text: str | bytes, caps: Iterable[str], arch: str = "", kernel: str = "") -> dict[str, Any] | None:
    """A user's profile (`--security-opt seccomp=FILE`: the client sends its content) as OCI `linux.seccomp`.

    None when the profile is empty, which Docker takes as unconfined. Raises InvalidArgument.
    """
    if len(text) > _MAX_BYTES:
        raise InvalidArgument(f"Decoding seccomp profile failed: more than {_MAX_BYTES} bytes")
    try:
        template = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error
    _check_types(template)
    if not template.get("defaultAction") and not template.get("syscalls"):
        return None
    if template.get("architectures") and template.get("archMap"):
        raise InvalidArgument(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, "
            "use either 'architectures' or 'archMap'"
        )
    return _resolve(template, frozenset(caps), arch, kernel)


@lru_cache(maxsize=1)
def _default_template() -> dict[str, Any]:
    template: dict[str, Any] = json.loads((Path(__file__).parent / "profiles/default.json").read_bytes())
    return template


def _masked_refusal(name: str, index: int, value: int) -> dict[str, Any]:
    # The kernel looks at 32 bits of it: the comparison must not be passed by with the other 32.
    arg = {"index": index, "value": 0xFFFFFFFF, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [arg]}


def _resolve(template: Mapping[str, Any], caps: frozenset[str], arch: str, kernel: str) -> dict[str, Any]:
    machine = arch or platform.machine()
    go_arch = _GO_ARCH.get(machine, machine)
    version = _version(kernel or os.uname().release)
    profile: dict[str, Any] = {"defaultAction": template.get("defaultAction")}
    for name in ("defaultErrnoRet", "flags", "listenerPath", "listenerMetadata"):
        if template.get(name) not in (None, "", []):
            profile[name] = template[name]
    architectures = list(template.get("architectures") or ())
    for entry in template.get("archMap") or ():
        if entry.get("architecture") == _SCMP_ARCH.get(go_arch):
            architectures = [entry["architecture"], *(entry.get("subArchitectures") or ())]
            break
    if architectures:
        profile["architectures"] = architectures
    profile["syscalls"] = [
        _oci_rule(rule) for rule in template.get("syscalls") or () if _applies(rule, caps, go_arch, version)
    ]
    return profile


def _applies(rule: Mapping[str, Any], caps: frozenset[str], go_arch: str, version: tuple[int, int]) -> bool:
    excludes, includes = rule.get("excludes") or {}, rule.get("includes") or {}
    if go_arch in (excludes.get("arches") or ()) or caps.intersection(excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and version >= _version(excludes["minKernel"]):
        return False
    if includes.get("arches") and go_arch not in includes["arches"]:
        return False
    if includes.get("minKernel") and version < _version(includes["minKernel"]):
        return False
    return caps.issuperset(includes.get("caps") or ())


def _oci_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    if rule.get("name") and rule.get("names"):
        raise InvalidArgument(
            "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'"
        )
    names = [rule["name"]] if rule.get("name") else list(rule.get("names") or ())
    result: dict[str, Any] = {"names": names, "action": rule.get("action")}
    for name in ("errnoRet", "args"):
        if rule.get(name) not in (None, []):
            result[name] = rule[name]
    return result


def _version(release: str) -> tuple[int, int]:
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", release)
    if found is None:
        raise InvalidArgument(f"invalid kernel version: {release!r}, expected format: MAJOR.MINOR")
    return int(found[1]), int(found[2])


def _check_types(template: Any) -> None:
    """Refuse what is no profile, by the name of the field, before anything looks into it. Raises InvalidArgument."""
    _expect(template, dict, "profile")
    for entry in _list(template, "archMap", dict):
        _expect(entry.get("architecture", ""), str, "archMap.architecture")
        _list(entry, "subArchitectures", str)
    _list(template, "architectures", str)
    _list(template, "flags", str)
    _expect(template.get("defaultAction") or "", str, "defaultAction")
    for rule in _list(template, "syscalls", dict):
        _expect(rule.get("name") or "", str, "syscalls.name")
        _expect(rule.get("action") or "", str, "syscalls.action")
        _list(rule, "names", str)
        _list(rule, "args", dict)
        for side in ("includes", "excludes"):
            conditions = rule.get(side) or {}
            _expect(conditions, dict, f"syscalls.{side}")
            _list(conditions, "caps", str)
            _list(conditions, "arches", str)
            _expect(conditions.get("minKernel") or "", str, f"syscalls.{side}.minKernel")


def _list(holder: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    value = holder.get(name) or []
    _expect(value, list, name)
    for item in value:
        _expect(item, kind, name)
    return list(value)


def _expect(value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise InvalidArgument(f"Decoding seccomp profile failed: {name} must be of type {kind.__name__}")
