"""Why a foreign program does not run: the program's header, and the emulators that binfmt_misc has."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.build.trees import tree_of

from corten.build.operations import Run
from corten.build.ops.foreign import explanation, program_of
from corten.engine.platforms import architecture_of, emulator_of, header_of, runnable
from corten.linux.binfmt import Handler, handlers, parse_handler
from corten.spec.platform import Platform

# As Debian's qemu-user-static registers them.
MAGICS = {
    "qemu-aarch64": ("7f454c460201010000000000000000000200b700", "ffffffffffffff00fffffffffffffffffeffffff"),
    "qemu-arm": ("7f454c4601010100000000000000000002002800", "ffffffffffffff00fffffffffffffffffeffffff"),
    "qemu-s390x": ("7f454c4602020100000000000000000000020016", "ffffffffffffff00fffffffffffffffffffeffff"),
    "qemu-mips64el": ("7f454c4602010100000000000000000002000800", "ffffffffffffff00fffffffffffffffffeffffff"),
    "qemu-i386": ("7f454c4601010100000000000000000002000300", "fffffffffffefe00fffffffffffffffffeffffff"),
}


def entry(name: str, flags: str = "OCF") -> str:
    magic, mask = MAGICS[name]
    return f"enabled\ninterpreter /usr/bin/{name}-static\nflags: {flags}\noffset 0\nmagic {magic}\nmask {mask}\n"


def handler(name: str, flags: str = "OCF") -> Handler:
    found = parse_handler(name, entry(name, flags))
    assert found is not None
    return found


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
    known = [handler(name, flags) for name, flags in names]
    found = explanation(architecture, Platform("linux", "amd64"), known)
    assert words in found
    assert bool(found) == bool(words)


def test_emulators_are_read_from_the_kernels_entries(tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64").write_text(entry("qemu-aarch64"))
    (tmp_path / "broken").write_text("enabled\nmagic xyz\n")
    (tmp_path / "python3").write_text("disabled\ninterpreter /usr/bin/python3\nflags: \n")
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").write_text("")
    found = handlers(str(tmp_path))
    assert [(one.name, one.interpreter, one.flags) for one in found] == [
        ("qemu-aarch64", "/usr/bin/qemu-aarch64-static", "OCF")
    ]
    assert handlers(str(tmp_path / "none")) == []
    assert parse_handler("x", "") is None
    assert bytes.fromhex(MAGICS["qemu-aarch64"][0]) == found[0].magic


def test_an_emulator_is_known_by_what_it_takes_and_not_by_its_name() -> None:
    known = [handler(name) for name in MAGICS]
    for architecture, name in (("arm64", "qemu-aarch64"), ("arm", "qemu-arm"), ("s390x", "qemu-s390x"),
                               ("mips64le", "qemu-mips64el"), ("386", "qemu-i386")):  # fmt: skip
        found = emulator_of(architecture, known)
        assert found is not None
        assert found.name == name
        assert architecture_of(header_of(architecture)) == architecture
    assert emulator_of("riscv64", known) is None
    assert emulator_of("vax", known) is None
    for other in (Handler("jar", "/usr/bin/java", "F"), Handler("deep", "/x", "F", offset=99, magic=b"\x7f")):
        assert not other.takes(header_of("arm64"))
    assert Handler("bare", "/x", "F", magic=b"\x7fELF").takes(header_of("arm64"))


def test_the_one_that_containers_can_use_goes_first() -> None:
    known = [handler("qemu-aarch64", "OC"), handler("qemu-aarch64", "POCF")]
    found = emulator_of("arm64", known)
    assert found is not None
    assert found.flags == "POCF"


def test_the_platforms_that_run_here() -> None:
    host = Platform("linux", "amd64")
    assert runnable(host, [], runs_386=False) == ["linux/amd64"]
    assert runnable(host, [], runs_386=True) == ["linux/amd64", "linux/386"]
    assert runnable(host, [handler("qemu-aarch64", "OC")], runs_386=False) == ["linux/amd64"]
    known = [handler("qemu-arm"), handler("qemu-aarch64", "POCF"), handler("qemu-i386")]
    assert runnable(host, known, runs_386=True) == [
        "linux/amd64", "linux/arm64", "linux/386", "linux/arm/v7", "linux/arm/v6",
    ]  # fmt: skip
