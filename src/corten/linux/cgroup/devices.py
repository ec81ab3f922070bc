"""The device list of a container: OCI device rules folded as the kernel's devices controller folds them. Pure.

v1 has the list in the kernel (devices.allow, devices.deny); v2 has a BPF program that must give the same answers
(`program`). Semantics: security/device_cgroup.c (devcgroup_update_access, match_exception*), OCI config-linux
"Allowed Device list", Documentation/admin-guide/cgroup-v1/devices.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from corten.errors import InvalidArgument

Key = tuple[str, int, int]  # "b" or "c", major, minor; ANY for a wildcard

ANY = -1
MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*, linux/bpf.h
_ACCESS = {"r": READ, "w": WRITE, "m": MKNOD}
_ALL = MKNOD | READ | WRITE
_BPF_TYPE = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
_MAX_NUMBER = 0xFFFFFFFF

# What runc allows in every container besides the spec's own rules (OCI runtime-spec "Default Devices"; mknod of
# anything, since making a node opens nothing; /dev/net/tun).
DEFAULT_RULES: tuple[Mapping[str, Any], ...] = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *(
        {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (10, 200))
    ),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
)


class DeviceList:
    """A default and its exceptions: with `allow_all` they are refused accesses, else allowed ones."""

    __slots__ = ("allow_all", "exceptions")

    def __init__(self, allow_all: bool = False, exceptions: Mapping[Key, int] | None = None) -> None:
        self.allow_all = allow_all
        self.exceptions: dict[Key, int] = dict(exceptions or {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeviceList):
            return NotImplemented
        return self.allow_all == other.allow_all and self.exceptions == other.exceptions

    def __repr__(self) -> str:
        return f"DeviceList(allow_all={self.allow_all}, exceptions={self.exceptions})"

    def update(self, key: Key, access: int, *, allow: bool) -> None:
        """Apply one rule as a write to devices.allow or devices.deny does."""
        if allow != self.allow_all:
            self.exceptions[key] = self.exceptions.get(key, 0) | access
            return
        left = self.exceptions.get(key, 0) & ~access
        if left:
            self.exceptions[key] = left
        else:
            self.exceptions.pop(key, None)

    def permits(self, kind: str, major: int, minor: int, access: int) -> bool:
        """Whether an access (bits of MKNOD, READ, WRITE) is allowed; what kernel and program must answer."""
        for (ex_kind, ex_major, ex_minor), ex_access in self.exceptions.items():
            if ex_kind != kind or ex_major not in (ANY, major) or ex_minor not in (ANY, minor):
                continue
            if self.allow_all and access & ex_access:
                return False
            if not self.allow_all and access & ~ex_access == 0:
                return True
        return self.allow_all


def fold(rules: Iterable[Mapping[str, Any]]) -> DeviceList:
    """The list that OCI `linux.resources.devices` means, starting from all refused. Raises InvalidArgument."""
    devices = DeviceList()
    for rule in rules:
        allow = bool(rule.get("allow"))
        kind = rule.get("type") or "a"
        major, minor = (_number(rule, name) for name in ("major", "minor"))
        access = _access(rule)
        if kind == "a" and major == ANY and minor == ANY and access == _ALL:
            devices = DeviceList(allow_all=allow)
        elif kind in ("a", "b", "c", "u"):
            # "a" with numbers: the kernel would ignore the numbers and open everything; both kinds are what is meant.
            for one in ("b", "c") if kind == "a" else ("c" if kind == "u" else kind,):
                devices.update((one, major, minor), access, allow=allow)
        else:
            raise InvalidArgument(f"invalid device type {kind!r} in a device rule: must be a, b or c")
    return devices


def _number(rule: Mapping[str, Any], name: str) -> int:
    value = rule.get(name)
    if value is None or value == ANY:
        return ANY
    if not isinstance(value, int) or not 0 <= value <= _MAX_NUMBER:
        raise InvalidArgument(f"invalid device {name} {value!r} in a device rule")
    return value


def _access(rule: Mapping[str, Any]) -> int:
    text = rule.get("access") or "rwm"
    bits = 0
    for letter in text:
        if letter not in _ACCESS:
            raise InvalidArgument(f"invalid device access {text!r} in a device rule: must be made of r, w and m")
        bits |= _ACCESS[letter]
    return bits


def parse_v1(text: str) -> DeviceList:
    """The list that v1's `devices.list` shows. (With all allowed, the kernel does not show the exceptions.)"""
    devices = DeviceList()
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        numbers, _, access = rest.partition(" ")
        if kind == "a":
            return DeviceList(allow_all=True)
        major, minor = (ANY if number == "*" else int(number) for number in numbers.split(":"))
        devices.update((kind, major, minor), _access({"access": access}), allow=True)
    return devices


def v1_writes(current: DeviceList, target: DeviceList) -> list[tuple[str, str]]:
    """The fewest (file, value) writes from `current` to `target`: a running container loses no device it keeps."""
    writes: list[tuple[str, str]] = []
    if current.allow_all or target.allow_all:
        # Exceptions of an allow-all list cannot be read back, so it is always set anew.
        writes.append(("devices.allow" if target.allow_all else "devices.deny", "a"))
        current = DeviceList(allow_all=target.allow_all)
    add, drop = ("devices.deny", "devices.allow") if target.allow_all else ("devices.allow", "devices.deny")
    for key, access in target.exceptions.items():
        if new := access & ~current.exceptions.get(key, 0):
            writes.append((add, _v1_line(key, new)))
    for key, access in current.exceptions.items():
        if old := access & ~target.exceptions.get(key, 0):
            writes.append((drop, _v1_line(key, old)))
    return writes


def _v1_line(key: Key, access: int) -> str:
    kind, major, minor = key
    letters = "".join(letter for letter, bit in _ACCESS.items() if access & bit)
    return f"{kind} {'*' if major == ANY else major}:{'*' if minor == ANY else minor} {letters}"


# eBPF opcodes (linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst).
_LDX_W = 0x61
_MOV64_REG, _MOV64_IMM, _AND32_IMM, _RSH32_IMM, _MOV32_IMM = 0xBF, 0xB7, 0x54, 0x74, 0xB4
_JNE_IMM, _JEQ_IMM, _JNE_REG = 0x55, 0x15, 0x5D
_EXIT = 0x95


def _insn(code: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, offset, imm if imm < 1 << 31 else imm - (1 << 32))


def program(devices: DeviceList) -> bytes:
    """The BPF_PROG_TYPE_CGROUP_DEVICE program for the list: r0 = 1 allows, 0 refuses (struct bpf_cgroup_dev_ctx).

    r2 = type, r3 = access, r4 = major, r5 = minor; one block an exception, which returns or falls to the next.
    """
    code = [
        _insn(_LDX_W, 2, 1, 0),
        _insn(_MOV64_REG, 3, 2),
        _insn(_AND32_IMM, 2, imm=0xFFFF),
        _insn(_RSH32_IMM, 3, imm=16),
        _insn(_LDX_W, 4, 1, 4),
        _insn(_LDX_W, 5, 1, 8),
    ]
    for (kind, major, minor), access in devices.exceptions.items():
        code += _block(kind, major, minor, access, allow_all=devices.allow_all)
    code += [_insn(_MOV64_IMM, 0, imm=int(devices.allow_all)), _insn(_EXIT)]
    return b"".join(code)


def _block(kind: str, major: int, minor: int, access: int, *, allow_all: bool) -> list[bytes]:
    tests: list[tuple[int, int, int, int]] = [(_JNE_IMM, 2, 0, _BPF_TYPE[kind])]
    if access != _ALL and allow_all:
        # Refuse when any of the refused bits is asked for.
        tests += [(_MOV64_REG, 1, 3, 0), (_AND32_IMM, 1, 0, access), (_JEQ_IMM, 1, 0, 0)]
    elif access != _ALL:
        # Allow when no bit beyond the allowed ones is asked for.
        tests += [(_MOV64_REG, 1, 3, 0), (_AND32_IMM, 1, 0, _ALL & ~access), (_JNE_IMM, 1, 0, 0)]
    for register, number in ((4, major), (5, minor)):
        if number != ANY:
            # Through r1: a comparison's immediate is sign-extended to 64 bits, a 32-bit move's is not.
            tests += [(_MOV32_IMM, 1, 0, number), (_JNE_REG, register, 1, 0)]
    block: list[bytes] = []
    end = len(tests) + 2  # the verdict and the exit follow the tests
    for index, (code, dst, src, imm) in enumerate(tests):
        jump = code in (_JNE_IMM, _JEQ_IMM, _JNE_REG)
        block.append(_insn(code, dst, src, end - index - 1 if jump else 0, imm))
    return [*block, _insn(_MOV64_IMM, 0, imm=int(not allow_all)), _insn(_EXIT)]
