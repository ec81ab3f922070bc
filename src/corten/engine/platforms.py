"""Which platforms' programs run here: the machine's own, and those of emulators that binfmt_misc has. Daemon; the
reading blocks.

An emulator counts when it was registered with the flag F: only then it is open already, and a container needs no copy
of it. It is known by what it takes, whatever it is called. Sources: elf(5), the kernel's binfmt-misc.rst.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from corten.linux.binfmt import Handler, handlers
from corten.spec.platform import Platform, host_platform

# The ELF header of a program for each: e_machine, bits, and whether it is big endian.
_MACHINES = {
    "386": (3, 32, False), "amd64": (62, 64, False), "arm": (40, 32, False), "arm64": (183, 64, False),
    "loong64": (258, 64, False), "mips64le": (8, 64, False), "ppc64le": (21, 64, False), "riscv64": (243, 64, False),
    "s390x": (22, 64, True),
}  # fmt: skip
_BY_MACHINE = {machine: name for name, (machine, _bits, _is_big) in _MACHINES.items()}
_HEADER = 20  # up to e_machine
_PADDED = 64
_ORDER = ("arm64", "riscv64", "ppc64le", "s390x", "386", "amd64", "mips64le", "loong64", "arm")
_VARIANTS = {"arm": ("v7", "v6")}  # an emulator has both
_RUNS_386 = "/proc/sys/abi/vsyscall32"  # of x86-64 kernels that run 32-bit programs


def header_of(architecture: str) -> bytes:
    """How a program for an architecture begins. Raises KeyError for an unknown one. Pure."""
    machine, bits, is_big = _MACHINES[architecture]
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 2 if is_big else 1, 1]) + bytes(9)
    return (ident + struct.pack(">HHI" if is_big else "<HHI", 2, machine, 1)).ljust(_PADDED, b"\0")


def architecture_of(header: bytes) -> str:
    """What a program is for, by its first bytes; empty for what is none, or for an unknown machine. Pure."""
    if len(header) < _HEADER or header[:4] != b"\x7fELF":
        return ""
    return _BY_MACHINE.get(int.from_bytes(header[18:20], "big" if header[5] == 2 else "little"), "")


def emulator_of(architecture: str, known: Sequence[Handler]) -> Handler | None:
    """The one that programs for an architecture go through; of several the kernel takes the last that was registered,
    which their list does not tell: one that containers can use goes first here. Pure."""
    if architecture not in _MACHINES:
        return None
    header = header_of(architecture)
    fitting = [handler for handler in known if handler.takes(header)]
    return next((handler for handler in fitting if "F" in handler.flags), fitting[0] if fitting else None)


def runnable(host: Platform, known: Sequence[Handler], *, runs_386: bool) -> list[str]:
    """The platforms, the machine's own first. Pure."""
    found = [host]
    for architecture in _ORDER:
        emulator = emulator_of(architecture, known)
        is_native = architecture == "386" and host.architecture == "amd64" and runs_386
        if is_native or (emulator is not None and "F" in emulator.flags):
            found += [Platform(host.os, architecture, variant) for variant in _VARIANTS.get(architecture, ("",))]
    return list(dict.fromkeys(str(platform) for platform in found))


def platforms_here() -> list[str]:
    """They as things stand now: an emulator may be registered at any time. Blocking."""
    return runnable(host_platform(), handlers(), runs_386=os.path.exists(_RUNS_386))
