"""Why a foreign program does not run: the program's header, and the emulators that binfmt_misc has."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.build.trees import tree_of

from corten.build.operations import Run
from corten.build.ops.foreign import architecture_of, explanation, program_of
from corten.linux.binfmt import Handler, handlers, parse_handler
from corten.spec.platform import Platform

ENTRY = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\nmagic 7f454c46\n"


def elf(machine: int, *, big: bool = False) -> bytes:
    return b"\x7fELF\x02" + (b"\2" if big else b"\1") + bytes(10) + struct.pack(">HH" if big else "<HH", 2, machine)


def test_a_programs_machine_is_in_its_header() -> None:
    assert [architecture_of(elf(number)) for number in (3, 62, 183, 40, 243, 9999)] == [
        "386", "amd64", "arm64", "arm", "riscv64", "",
    ]  # fmt: skip
    assert architecture_of(elf(22, big=True)) == "s390x"
    assert architecture_of(b"#!/bin/sh\n" + bytes(20)) == ""


@given(st.binary(max_size=64))
def test_any_bytes_are_some_machine_or_none(data: bytes) -> None:
    assert isinstance(architecture_of(data), str)


def test_the_program_is_found_as_the_kernel_would_find_it() -> None:
    tree = tree_of(
        {"bin": "usr/bin", "usr/bin/sh": "busybox", "usr/bin/busybox": elf(183) + b"more", "loop": "loop",
         "work/tool": elf(40)}
    )  # fmt: skip

    def found(*args: str, **fields: object) -> bytes:
        return program_of(tree, Run(args=args, **fields))  # type: ignore[arg-type]

    assert found("/bin/sh", "-c", "x") == elf(183)
    assert found("sh", env=("PATH=/none:/bin",)) == elf(183)
    assert found("busybox") == elf(183)
    assert found("./tool", working_dir="/work") == elf(40)
    assert found("/loop") == found("missing") == found("/work") == b""


@pytest.mark.parametrize(
    ("architecture", "names", "words"),
    [
        ("arm64", [], "runs no programs for linux/arm64: no emulator is registered with binfmt_misc (as qemu-aarch64"),
        ("arm64", [("qemu-aarch64", "OC")], "is not registered with the flag F"),
        ("arm64", [("qemu-aarch64", "OCF")], ""),
        ("s390x", [("qemu-aarch64", "F")], "as qemu-s390x"),
        ("amd64", [], ""),
        ("386", [], ""),
        ("", [], ""),
    ],
)
def test_the_reason_names_what_is_missing(architecture: str, names: list[tuple[str, str]], words: str) -> None:
    known = [Handler(name, "/x", flags) for name, flags in names]
    found = explanation(architecture, Platform("linux", "amd64"), known)
    assert words in found
    assert bool(found) == bool(words)


def test_emulators_are_read_from_the_kernels_entries(tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64").write_text(ENTRY)
    (tmp_path / "python3").write_text("disabled\ninterpreter /usr/bin/python3\nflags: \n")
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").write_text("")
    found = handlers(str(tmp_path))
    assert [(one.name, one.interpreter, one.flags) for one in found] == [
        ("qemu-aarch64", "/usr/bin/qemu-aarch64-static", "OCF")
    ]
    assert handlers(str(tmp_path / "none")) == []
    assert parse_handler("x", "") is None
