"""Compiled seccomp filters answer as the profile says: run by an interpreter of classic BPF."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.errors import InvalidArgument
from corten.linux.seccomp import (
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    RET_KILL_THREAD,
    RET_LOG,
    RET_TRACE,
    RET_TRAP,
    RET_USER_NOTIF,
    compile_filter,
)
from corten.linux.syscall_table import numbers

X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32 = 0x40000000
BOTH = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
EPERM, ENOSYS = RET_ERRNO | errno.EPERM, RET_ERRNO | errno.ENOSYS


def run_filter(program: bytes, arch: int, number: int, args: tuple[int, ...] = ()) -> int:
    """What the kernel's interpreter would return; fails on anything that its checker would refuse."""
    code = list(struct.iter_unpack("=HBBI", program))
    assert len(code) <= 4096
    data = struct.pack("=IIQ6Q", number, arch, 0, *args, *[0] * (6 - len(args)))
    accumulator, place = 0, 0
    while True:
        opcode, if_true, if_false, k = code[place]
        place += 1
        if opcode == 0x20:
            assert k % 4 == 0
            assert k < 64
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif opcode == 0x54:
            accumulator &= k
        elif opcode == 0x06:
            return k
        elif opcode == 0x05:
            place += k
        else:
            taken = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k}[opcode]
            place += if_true if taken else if_false


def profile(*rules: dict, default: str = "SCMP_ACT_ERRNO", **more) -> dict:
    return {"defaultAction": default, "architectures": BOTH, "syscalls": list(rules), **more}


def allow(*names: str, **more) -> dict:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def arg(index: int, value: int, operator: str, value_two: int = 0) -> dict:
    return {"index": index, "value": value, "valueTwo": value_two, "op": f"SCMP_CMP_{operator}"}


def x86(filter_: bytes, name: str, *args: int) -> int:
    return run_filter(filter_, X86_64, numbers("x86_64")[name], args)


def test_listed_calls_are_allowed_and_others_get_the_default():
    filter_ = compile_filter(profile(allow("read", "clone3")), machine="x86_64")
    assert x86(filter_, "read") == RET_ALLOW
    assert x86(filter_, "write") == EPERM


def test_numbers_are_those_of_the_calling_architecture():
    filter_ = compile_filter(profile(allow("openat", "exit")), machine="x86_64")
    for arch, table in ((X86_64, "x86_64"), (I386, "i386")):
        assert run_filter(filter_, arch, numbers(table)["openat"]) == RET_ALLOW
        assert run_filter(filter_, arch, numbers(table)["exit"]) == RET_ALLOW
    assert run_filter(filter_, I386, numbers("x86_64")["exit"]) == EPERM
    arm = compile_filter(profile(allow("openat", "cacheflush"), architectures=["SCMP_ARCH_ARM"]), machine="aarch64")
    assert run_filter(arm, AARCH64, 56) == RET_ALLOW
    assert run_filter(arm, ARM, 322) == RET_ALLOW
    assert run_filter(arm, ARM, 0xF0002) == RET_ALLOW
    assert run_filter(arm, ARM, 0xF0005) == EPERM


def test_an_architecture_that_is_not_listed_is_killed():
    filter_ = compile_filter(profile(allow("read"), architectures=[]), machine="x86_64")
    assert run_filter(filter_, I386, 3) == RET_KILL_PROCESS
    assert run_filter(filter_, AARCH64, 63) == RET_KILL_PROCESS
    assert x86(filter_, "read") == RET_ALLOW


def test_x32_calls_do_not_exist_unless_asked_for():
    filter_ = compile_filter(profile(allow("read", "execve")), machine="x86_64")
    assert run_filter(filter_, X86_64, X32 | 0) == ENOSYS
    assert run_filter(filter_, X86_64, X32 | 520) == ENOSYS
    asked = profile(allow("read", "execve"), architectures=[*BOTH, "SCMP_ARCH_X32"])
    filter_ = compile_filter(asked, machine="x86_64")
    assert run_filter(filter_, X86_64, X32 | 0) == RET_ALLOW
    assert run_filter(filter_, X86_64, X32 | 520) == RET_ALLOW
    assert run_filter(filter_, X86_64, X32 | 59) == ENOSYS
    assert run_filter(filter_, X86_64, 520) == ENOSYS


def test_calls_newer_than_the_profile_get_enosys_where_the_default_refuses():
    filter_ = compile_filter(profile(allow("read", "openat2")), machine="x86_64")
    assert x86(filter_, "clone3") == EPERM
    assert x86(filter_, "faccessat2") == ENOSYS
    assert run_filter(filter_, X86_64, 0xFFFFFFFF) == ENOSYS
    filter_ = compile_filter(profile(allow("read"), default="SCMP_ACT_LOG"), machine="x86_64")
    assert x86(filter_, "faccessat2") == RET_LOG


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("SCMP_ACT_KILL", RET_KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", RET_KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", RET_KILL_PROCESS),
        ("SCMP_ACT_TRAP", RET_TRAP),
        ("SCMP_ACT_ERRNO", RET_ERRNO | 42),
        ("SCMP_ACT_TRACE", RET_TRACE | 42),
        ("SCMP_ACT_NOTIFY", RET_USER_NOTIF),
        ("SCMP_ACT_LOG", RET_LOG),
        ("SCMP_ACT_ALLOW", RET_ALLOW),
    ],
)
def test_each_action_has_its_value(action: str, value: int):
    rule = {"names": ["uname"], "action": action, "errnoRet": 42}
    assert x86(compile_filter(profile(rule), machine="x86_64"), "uname") == value
    assert x86(compile_filter(profile(default=action, defaultErrnoRet=42), machine="x86_64"), "uname") == value


@pytest.mark.parametrize("operator", ["NE", "LT", "LE", "EQ", "GE", "GT"])
@pytest.mark.parametrize("value", [0, 5, 0x1_0000_0000, 0x5_0000_0005, (1 << 64) - 1])
def test_comparisons_are_of_64_bits(operator: str, value: int):
    meaning = {
        "NE": int.__ne__, "LT": int.__lt__, "LE": int.__le__, "EQ": int.__eq__, "GE": int.__ge__, "GT": int.__gt__,
    }[operator]  # fmt: skip
    filter_ = compile_filter(profile(allow("personality", args=[arg(3, value, operator)])), machine="x86_64")
    words = [0, 1, 4, 5, 6, 0xFFFFFFFF]
    for given_value in [high << 32 | low for high in words for low in words]:
        expected = RET_ALLOW if meaning(given_value, value) else EPERM
        assert x86(filter_, "personality", 9, 9, 9, given_value) == expected


def test_masked_comparison_looks_at_both_words():
    rule = allow("clone", args=[arg(0, 0xF0_7E020000, "MASKED_EQ", 0x10_00000000)])
    filter_ = compile_filter(profile(rule), machine="x86_64")
    assert x86(filter_, "clone", 0x10_00000011) == RET_ALLOW
    assert x86(filter_, "clone", 0x10_10000000) == EPERM
    assert x86(filter_, "clone", 0x20_00000011) == EPERM


def test_different_arguments_must_all_match_and_one_argument_twice_means_either():
    both = allow("ioctl", args=[arg(0, 1, "EQ"), arg(1, 2, "EQ")])
    filter_ = compile_filter(profile(both), machine="x86_64")
    assert x86(filter_, "ioctl", 1, 2) == RET_ALLOW
    assert x86(filter_, "ioctl", 1, 3) == EPERM
    either = allow("ioctl", args=[arg(0, 1, "EQ"), arg(0, 2, "EQ")])
    filter_ = compile_filter(profile(either), machine="x86_64")
    assert [x86(filter_, "ioctl", value) for value in (1, 2, 3)] == [RET_ALLOW, RET_ALLOW, EPERM]


def test_a_rule_with_arguments_goes_before_one_without():
    refuse = {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": [arg(0, 40, "EQ")]}
    filter_ = compile_filter(profile(allow("socket"), refuse), machine="x86_64")
    assert x86(filter_, "socket", 40) == RET_ERRNO | 97
    assert x86(filter_, "socket", 2) == RET_ALLOW


def test_unknown_names_are_skipped():
    filter_ = compile_filter(profile(allow("no_such_call", "riscv_hwprobe", "read")), machine="x86_64")
    assert x86(filter_, "read") == RET_ALLOW


@pytest.mark.parametrize(
    "wrong",
    [
        {"defaultAction": "SCMP_ACT_MAYBE"},
        {"defaultAction": None},
        profile(allow("read"), architectures=["SCMP_ARCH_PDP11"]),
        profile({"names": ["read"], "action": "ALLOW"}),
        profile({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000}),
        profile(allow("read", args=[arg(6, 0, "EQ")])),
        profile(allow("read", args=[arg(0, -1, "EQ")])),
        profile(allow("read", args=[arg(0, 1 << 64, "EQ")])),
        profile(allow("read", args=[arg(0, 0, "LIKE")])),
        profile(allow("read", args=[{"op": "SCMP_CMP_EQ"}])),
    ],
)
def test_a_wrong_profile_is_refused(wrong: dict):
    with pytest.raises(InvalidArgument, match="seccomp"):
        compile_filter(wrong, machine="x86_64")


def test_a_filter_longer_than_the_kernel_takes_is_refused():
    rules = [allow("ioctl", args=[arg(1, value, "EQ")]) for value in range(1000)]
    with pytest.raises(InvalidArgument, match="4096"):
        compile_filter(profile(*rules), machine="x86_64")


def test_searches_and_rules_beyond_short_jumps_still_land():
    # Each call its own errno: no two ranges merge, so that subtrees are longer than 255 instructions.
    table = numbers("x86_64")
    rules = [
        {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": number + 1, "args": [arg(0, number, "NE")]}
        for name, number in table.items()
    ]
    filter_ = compile_filter(profile(*rules, default="SCMP_ACT_ALLOW", architectures=[]), machine="x86_64")
    assert len(filter_) // 8 > 2000
    for number in table.values():
        assert run_filter(filter_, X86_64, number, (number + 7,)) == RET_ERRNO | (number + 1)
        assert run_filter(filter_, X86_64, number, (number,)) == RET_ALLOW


NAMES = ["read", "write", "open", "socket", "clone", "ioctl", "mseal", "openat2", "waitpid", "getpid", "nonsense"]
VALUES = st.one_of(st.integers(0, 8), st.sampled_from([0xFFFFFFFF, 1 << 32, (1 << 32) + 3, (1 << 64) - 1]))
OPERATORS = st.sampled_from(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"])
ACTIONS = st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_LOG"])
RULES = st.lists(
    st.builds(
        lambda names, action, number, args: {"names": names, "action": action, "errnoRet": number, "args": args},
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
        ACTIONS,
        st.integers(0, 4095),
        st.lists(st.builds(arg, st.integers(0, 5), VALUES, OPERATORS, VALUES), max_size=3),
    ),
    max_size=8,
)


def holds(condition: dict, args: tuple[int, ...]) -> bool:
    given_value, value = args[condition["index"]], condition["value"]
    match condition["op"].removeprefix("SCMP_CMP_"):
        case "MASKED_EQ":
            return given_value & value == condition["valueTwo"]
        case operator:
            return bool(getattr(given_value, f"__{operator.lower()}__")(value))


def expected_answer(document: dict, table: dict[str, int], number: int, args: tuple[int, ...]) -> int:
    """The profile read by hand."""

    def value(action: str, number_: int) -> int:
        bases = {"ALLOW": RET_ALLOW, "ERRNO": RET_ERRNO | number_, "KILL_PROCESS": RET_KILL_PROCESS, "LOG": RET_LOG}
        return bases[action.removeprefix("SCMP_ACT_")]

    rules = [rule for rule in document["syscalls"] if any(table.get(name) == number for name in rule["names"])]
    for rule in rules:
        conditions = rule["args"]
        repeated = len({condition["index"] for condition in conditions}) < len(conditions)
        matches = (any if repeated else all)(holds(condition, args) for condition in conditions)
        if conditions and matches:
            return value(rule["action"], rule["errnoRet"])
    for rule in rules:
        if not rule["args"]:
            return value(rule["action"], rule["errnoRet"])
    known = [table[name] for rule in document["syscalls"] for name in rule["names"] if name in table]
    if known and number > max(known) and document["defaultAction"] in ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"):
        return ENOSYS
    return value(document["defaultAction"], 1)


@settings(max_examples=200, deadline=None)
@given(RULES, ACTIONS, st.lists(VALUES, min_size=6, max_size=6), st.data())
def test_any_filter_answers_as_its_profile(rules, default, args, data):
    document = profile(*rules, default=default)
    filter_ = compile_filter(document, machine="x86_64")
    for arch, table_name in ((X86_64, "x86_64"), (I386, "i386")):
        table = numbers(table_name)
        chosen = data.draw(st.integers(0, 500))
        for number in [*(table[name] for name in NAMES if name in table), chosen]:
            answer = run_filter(filter_, arch, number, tuple(args))
            assert answer == expected_answer(document, table, number, tuple(args))


def test_the_kernel_takes_a_filter_and_obeys_it():
    filter_ = compile_filter(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["sched_yield"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}],
        }
    )

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(filter_, len(filter_))
    program = Program(len(filter_) // 8, ctypes.addressof(buffer))
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        code = 1
        if libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0:
            code = ctypes.get_errno() if libc.sched_yield() < 0 else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 77
    assert platform.machine() in ("x86_64", "aarch64")
