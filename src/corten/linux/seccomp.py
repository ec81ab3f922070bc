"""OCI `linux.seccomp` -> a classic BPF program for seccomp(2). Pure, stdlib only; whoever starts containers caches it.

seccomp_load.py installs it.

Shape of a program: the architecture picks a section (any other one kills), the call's number goes through a binary
search over ranges of equal outcome, and argument rules stand at its leaves. The kernel itself remembers the numbers
that are always allowed (Linux 5.11), so that for most calls no instruction runs.

Facts: seccomp(2), linux/seccomp.h, linux/filter.h, Documentation/userspace-api/seccomp_filter.rst, OCI runtime-spec
config-linux.md "Seccomp". Where the spec is silent:
- rules with arguments are tried in their order, before rules without: the more special rule wins, whatever its action;
- one argument compared twice in a rule means either (as with libseccomp in runc), other arguments must all match;
- a call newer than all that the profile names gets ENOSYS where the default is a refusal, so that programs built for
  newer kernels use their fallback (runc does so too);
- x32 calls get ENOSYS, as from a kernel without x32, unless the profile asks for SCMP_ARCH_X32.
"""

from __future__ import annotations

import errno
import platform
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from corten.errors import InvalidArgument

BPF_MAXINSNS = 4096
_MAX_JUMP = 255
_MAX_ERRNO = 4095
_X32_BIT = 0x40000000
_ARM_PRIVATE = 0xF0000  # __ARM_NR_BASE: cacheflush, set_tls
_X32_OWN = 512  # x32's own numbers; below it has x86_64's

# linux/seccomp.h SECCOMP_RET_*
RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, RET_ERRNO = 0x80000000, 0, 0x00030000, 0x00050000
RET_USER_NOTIF, RET_TRACE, RET_LOG, RET_ALLOW = 0x7FC00000, 0x7FF00000, 0x7FFC0000, 0x7FFF0000
_ENOSYS = RET_ERRNO | errno.ENOSYS

_ACTIONS = {
    "SCMP_ACT_KILL": RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": RET_TRAP,
    "SCMP_ACT_ERRNO": RET_ERRNO,
    "SCMP_ACT_NOTIFY": RET_USER_NOTIF,
    "SCMP_ACT_TRACE": RET_TRACE,
    "SCMP_ACT_LOG": RET_LOG,
    "SCMP_ACT_ALLOW": RET_ALLOW,
}
_REFUSALS = frozenset({RET_KILL_PROCESS, RET_KILL_THREAD, RET_TRAP, RET_ERRNO})
_OPERATORS = frozenset(f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))

# OCI name, AUDIT_ARCH_* (linux/audit.h), table; each machine's own architecture first.
_MACHINES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "x86_64": (("SCMP_ARCH_X86_64", 0xC000003E, "x86_64"), ("SCMP_ARCH_X86", 0x40000003, "i386")),
    "aarch64": (("SCMP_ARCH_AARCH64", 0xC00000B7, "aarch64"), ("SCMP_ARCH_ARM", 0x40000028, "arm")),
}
_KNOWN_ARCHES = re.compile(
    "SCMP_ARCH_(NATIVE|X86|X86_64|X32|ARM|AARCH64|MIPS(64(N32)?)?|MIPSEL(64(N32)?)?|PPC|PPC64|PPC64LE|S390|S390X"
    "|PARISC|PARISC64|RISCV64|LOONGARCH64|M68K|SH|SHEB)"
)


class Condition(NamedTuple):
    """One comparison of a call's argument; `value_two` counts for MASKED_EQ only."""

    argument: int
    operator: str
    value: int
    value_two: int


# What happens to a call: (conditions, SECCOMP_RET value) tried in order; the last one has no conditions.
Outcome = tuple[tuple[tuple[Condition, ...], int], ...]


def compile_filter(seccomp: Mapping[str, Any], *, machine: str = "") -> bytes:
    """The `struct sock_filter` array for `seccomp` on `machine` (this one if empty). Raises InvalidArgument."""
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        raise InvalidArgument(f"seccomp: filters for {machine} are not supported")
    wanted = seccomp.get("architectures") or ()
    for name in wanted:
        if not isinstance(name, str) or not _KNOWN_ARCHES.fullmatch(name):
            raise InvalidArgument(f"seccomp: unknown architecture {name!r}")
    code = [_stmt(_LD_W_ABS, _ARCH)]
    native = _MACHINES[machine][0][0]
    for name, audit, table in _MACHINES[machine]:
        if name != native and name not in wanted:
            continue
        ranges = _ranges(seccomp, table, x32="SCMP_ARCH_X32" in wanted)
        section = [_stmt(_LD_W_ABS, _NR), *_search(ranges)]
        # The jump over a section is longer than a conditional jump can be.
        code += [_jump(_JEQ, audit, 1, 0), _stmt(_JA, len(section)), *section]
    code.append(_stmt(_RET, RET_KILL_PROCESS))
    if len(code) > BPF_MAXINSNS:
        raise InvalidArgument(f"seccomp: the filter needs {len(code)} instructions, the kernel takes {BPF_MAXINSNS}")
    return b"".join(code)


def _action(name: object, errno_ret: object) -> int:
    if not isinstance(name, str) or name not in _ACTIONS:
        raise InvalidArgument(f"seccomp: unknown action {name!r}")
    base = _ACTIONS[name]
    if base not in (RET_ERRNO, RET_TRACE):
        return base
    number = errno.EPERM if errno_ret is None else errno_ret
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _MAX_ERRNO:
        raise InvalidArgument(f"seccomp: invalid errnoRet {errno_ret!r}")
    return base | number


def _conditions(rule: Mapping[str, Any]) -> list[tuple[Condition, ...]]:
    """The alternatives of a rule, each a conjunction; one empty conjunction when it has no arguments."""
    conditions = []
    for arg in rule.get("args") or ():
        numbers = [arg.get("index"), arg.get("value", 0), arg.get("valueTwo", 0)]
        if any(isinstance(number, bool) or not isinstance(number, int) for number in numbers):
            raise InvalidArgument(f"seccomp: invalid argument rule {dict(arg)!r}")
        index, value, value_two = numbers
        if not 0 <= index <= 5 or not 0 <= value < 1 << 64 or not 0 <= value_two < 1 << 64:
            raise InvalidArgument(f"seccomp: invalid argument rule {dict(arg)!r}")
        if arg.get("op") not in _OPERATORS:
            raise InvalidArgument(f"seccomp: unknown operator {arg.get('op')!r}")
        conditions.append(Condition(index, arg["op"], value, value_two))
    if len({condition.argument for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(conditions)]


def outcomes(seccomp: Mapping[str, Any], table: Mapping[str, int]) -> tuple[dict[int, Outcome], int]:
    """What the profile says for each number that it names, and the value for all others. Raises InvalidArgument."""
    default = _action(seccomp.get("defaultAction"), seccomp.get("defaultErrnoRet"))
    special: dict[int, list[tuple[tuple[Condition, ...], int]]] = {}
    plain: dict[int, int] = {}
    for rule in seccomp.get("syscalls") or ():
        action = _action(rule.get("action"), rule.get("errnoRet"))
        alternatives = _conditions(rule)
        for name in rule.get("names") or ():
            number = table.get(name)
            if number is None:
                continue  # of another architecture or kernel
            if alternatives == [()]:
                plain.setdefault(number, action)
            else:
                special.setdefault(number, []).extend((conditions, action) for conditions in alternatives)
    named = special.keys() | plain.keys()
    return {number: (*special.get(number, ()), ((), plain.get(number, default))) for number in named}, default


def _ranges(seccomp: Mapping[str, Any], table_name: str, *, x32: bool) -> list[tuple[int, Outcome]]:
    """(first number, outcome) of each run of equal outcomes; the first run starts at 0."""
    from corten.linux.syscall_table import numbers

    points: dict[int, Outcome] = {}

    def lay(table: Mapping[str, int], base: int, private: int) -> None:
        named, default = outcomes(seccomp, table)
        rest: Outcome = (((), default),)
        points[base] = rest
        for number, outcome in sorted(named.items()):
            points[base + number] = outcome
            points[base + number + 1] = rest
        newest = max((number for number in named if number < private), default=None)
        if newest is not None and default & 0xFFFF0000 in _REFUSALS:
            points[base + newest + 1] = (((), _ENOSYS),)

    lay(numbers(table_name), 0, _ARM_PRIVATE)
    if table_name == "x86_64" and x32:
        lay(numbers("x32"), _X32_BIT, _X32_OWN)
    elif table_name == "x86_64":
        points[_X32_BIT] = (((), _ENOSYS),)
    merged: list[tuple[int, Outcome]] = []
    for start in sorted(points):
        if not merged or merged[-1][1] != points[start]:
            merged.append((start, points[start]))
    return merged


# Classic BPF (linux/bpf_common.h): class | size or operation | mode or operand.
_LD_W_ABS, _AND, _RET = 0x20, 0x54, 0x06
_JA, _JEQ, _JGT, _JGE = 0x05, 0x15, 0x25, 0x35
_NR, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data


def _stmt(code: int, k: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, k)


def _jump(code: int, k: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, k)


def _search(ranges: Sequence[tuple[int, Outcome]]) -> list[bytes]:
    """Binary search for the range that holds the number in the accumulator. Each leaf returns."""
    if len(ranges) == 1:
        return _leaf(ranges[0][1])
    middle = len(ranges) // 2
    low, high = _search(ranges[:middle]), _search(ranges[middle:])
    start = ranges[middle][0]
    if len(low) <= _MAX_JUMP:
        return [_jump(_JGE, start, len(low), 0), *low, *high]
    return [_jump(_JGE, start, 0, 1), _stmt(_JA, len(low)), *low, *high]


def _leaf(outcome: Outcome) -> list[bytes]:
    code: list[bytes] = []
    for conditions, action in outcome:
        code += _rule(conditions, action)
    return code


# A comparison before its jumps are known: code, k, and where to go: the next instruction (0), the next but one (1)...
# or _PASS (this condition holds) or _FAIL (the rule does not apply).
_PASS, _FAIL = "pass", "fail"
_Draft = tuple[int, int, int | str, int | str]


def _rule(conditions: Iterable[Condition], action: int) -> list[bytes]:
    """Return `action` if all conditions hold, else go on behind the rule."""
    drafts = [_compare(condition) for condition in conditions]
    length = sum(map(len, drafts)) + 1
    code: list[bytes] = []
    for draft in drafts:
        passed = len(code) + len(draft)
        for opcode, k, if_true, if_false in draft:
            after = len(code) + 1
            targets = {_PASS: passed - after, _FAIL: length - after}
            jumps = (targets[to] if isinstance(to, str) else to for to in (if_true, if_false))
            code.append(_jump(opcode, k, *jumps))
    return [*code, _stmt(_RET, action)]


def _compare(condition: Condition) -> list[_Draft]:
    """Both words of a 64-bit argument, unsigned: a comparison of the low word alone could be passed by."""
    argument, operator, value, value_two = condition
    low, high = _ARGS + 8 * argument, _ARGS + 8 * argument + 4  # all machines here are little-endian
    load_high: _Draft = (_LD_W_ABS, high, 0, 0)
    load_low: _Draft = (_LD_W_ABS, low, 0, 0)
    value_high, value_low = value >> 32, value & 0xFFFFFFFF
    match operator.removeprefix("SCMP_CMP_"):
        case "MASKED_EQ":
            return [
                load_high,
                (_AND, value_high, 0, 0),
                (_JEQ, value_two >> 32, 0, _FAIL),
                load_low,
                (_AND, value_low, 0, 0),
                (_JEQ, value_two & 0xFFFFFFFF, 0, _FAIL),
            ]
        case "EQ":
            return [load_high, (_JEQ, value_high, 0, _FAIL), load_low, (_JEQ, value_low, 0, _FAIL)]
        case "NE":
            return [load_high, (_JEQ, value_high, 0, _PASS), load_low, (_JEQ, value_low, _FAIL, 0)]
        case "GT" | "GE" as name:
            greater = [load_high, (_JGT, value_high, _PASS, 0), (_JEQ, value_high, 0, _FAIL), load_low]
            return [*greater, (_JGT if name == "GT" else _JGE, value_low, 0, _FAIL)]
        case name:
            less = [load_high, (_JGT, value_high, _FAIL, 0), (_JEQ, value_high, 0, _PASS), load_low]
            return [*less, (_JGE if name == "LT" else _JGT, value_low, _FAIL, 0)]
