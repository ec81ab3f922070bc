"""Device rules fold as the kernel folds them, and the v2 program and the v1 writes say the same as the list."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corten.errors import InvalidArgument
from corten.linux.cgroup.devices import (
    DEFAULT_RULES,
    MKNOD,
    READ,
    WRITE,
    DeviceList,
    fold,
    parse_v1,
    program,
    v1_writes,
)

DENY_ALL = {"allow": False, "access": "rwm"}


def run_program(code: bytes, kind: str, major: int, minor: int, access: int) -> bool:  # noqa: C901 - one case an opcode
    """An interpreter of the few eBPF instructions that device programs are made of."""
    context = struct.pack("=III", access << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [0] * 11
    instructions = list(struct.iter_unpack("<BBhi", code))
    place = 0
    while True:
        opcode, pair, offset, immediate = instructions[place]
        target, source = pair & 15, pair >> 4
        place += 1
        match opcode:
            case 0x61:
                assert source == 1
                (registers[target],) = struct.unpack_from("=I", context, offset)
            case 0xBF:
                registers[target] = registers[source]
            case 0xB7:
                registers[target] = immediate & (1 << 64) - 1
            case 0xB4:
                registers[target] = immediate & 0xFFFFFFFF
            case 0x54:
                registers[target] &= immediate & 0xFFFFFFFF
            case 0x74:
                registers[target] = (registers[target] & 0xFFFFFFFF) >> immediate
            case 0x55:
                place += offset if registers[target] != immediate & (1 << 64) - 1 else 0
            case 0x15:
                place += offset if registers[target] == immediate & (1 << 64) - 1 else 0
            case 0x5D:
                place += offset if registers[target] != registers[source] else 0
            case 0x95:
                assert registers[0] in (0, 1)
                return registers[0] == 1
            case other:
                raise AssertionError(f"unexpected opcode {other:#x}")


NUMBERS = st.sampled_from([0, 1, 3, 5, 136, 0xFFFFFFFF])
RULE = st.fixed_dictionaries(
    {"allow": st.booleans(), "type": st.sampled_from(["a", "b", "c"])},
    optional={
        "major": st.one_of(st.just(-1), NUMBERS),
        "minor": st.one_of(st.just(-1), NUMBERS),
        "access": st.sampled_from(["r", "w", "m", "rw", "rm", "wm", "rwm"]),
    },
)
QUESTION = st.tuples(st.sampled_from(["b", "c"]), NUMBERS, NUMBERS, st.integers(1, 7))


@settings(max_examples=300, deadline=None)
@given(st.lists(RULE, max_size=8), st.lists(QUESTION, min_size=1, max_size=20))
def test_the_program_answers_as_the_list(rules, questions):
    devices = fold(rules)
    code = program(devices)
    for question in questions:
        assert run_program(code, *question) == devices.permits(*question)


@settings(max_examples=300, deadline=None)
@given(st.lists(RULE, max_size=8), st.lists(RULE, max_size=8))
def test_v1_writes_lead_from_any_list_to_any_other(before, after):
    current, target = fold(before), fold(after)
    state = DeviceList(current.allow_all, dict(current.exceptions))
    for file, line in v1_writes(current, target):
        allow = file == "devices.allow"
        if line == "a":
            state = DeviceList(allow_all=allow)
            continue
        kind, numbers, letters = line.split()
        major, minor = (-1 if part == "*" else int(part) for part in numbers.split(":"))
        access = sum({"r": READ, "w": WRITE, "m": MKNOD}[letter] for letter in letters)
        state.update((kind, major, minor), access, allow=allow)
    assert state == target


def test_what_containers_usually_get_is_a_short_list_of_writes():
    target = fold([DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}])
    assert v1_writes(parse_v1("a *:* rwm\n"), target) == [("devices.deny", "a"), ("devices.allow", "c 1:3 rwm")]


def test_a_changed_list_takes_no_device_away_in_between():
    current = parse_v1("c 1:3 rwm\nc 1:5 r\nb *:* m\n")
    target = fold([DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}])
    assert v1_writes(current, target) == [
        ("devices.deny", "c 1:3 m"),
        ("devices.deny", "c 1:5 r"),
        ("devices.deny", "b *:* m"),
    ]


def test_a_specific_deny_does_not_touch_a_wildcard_allow():
    devices = fold(
        [
            DENY_ALL,
            {"allow": True, "type": "c", "major": 1, "access": "rw"},
            {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "w"},
        ]
    )
    assert devices.permits("c", 1, 5, WRITE)
    assert not devices.permits("c", 1, 5, MKNOD)
    assert not devices.permits("b", 1, 5, READ)


def test_the_default_rules_allow_nodes_but_no_disks():
    devices = fold([DENY_ALL, *DEFAULT_RULES])
    assert devices.permits("b", 8, 0, MKNOD)
    assert not devices.permits("b", 8, 0, READ)
    assert devices.permits("c", 136, 7, READ | WRITE)
    assert not devices.permits("c", 10, 229, READ)


@pytest.mark.parametrize(
    "rule",
    [
        {"allow": True, "type": "x"},
        {"allow": True, "type": "c", "major": -2},
        {"allow": True, "type": "c", "major": "1"},
        {"allow": True, "type": "c", "major": 1 << 33},
        {"allow": True, "type": "c", "access": "rx"},
    ],
)
def test_a_wrong_rule_is_refused(rule):
    with pytest.raises(InvalidArgument, match="device"):
        fold([rule])
