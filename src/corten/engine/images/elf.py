"""Assembles the smallest static ELF program that writes a text and exits, for x86-64 and AArch64. Pure; daemon.

Source: System V ABI ("Object Files", "Program Loading"), the processors' instruction encodings, and Linux' system call
numbers. The image has no sections: a header, two program headers, the code, the text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

_BASE = 0x400000
_PAGE = 0x10000  # AArch64 kernels may have pages of 64 KiB: a load address must be congruent for those too
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")
_IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)  # 64-bit, little-endian, version 1, System V
_ET_EXEC, _EV_CURRENT = 2, 1
_PT_LOAD, _PT_GNU_STACK = 1, 0x6474E551
_PF_RX, _PF_RW = 5, 6
_CODE_AT = _HEADER.size + 2 * _PROGRAM.size

_X86_64, _AARCH64 = 62, 183


def _x86_64(text_at: int, length: int) -> bytes:
    """write(1, text, length); exit(0): rax, rdi, rsi, rdx, then `syscall`."""
    before = b"\xb8" + struct.pack("<I", 1) + b"\xbf" + struct.pack("<I", 1)  # mov eax, 1; mov edi, 1
    lea_end = len(before) + 7
    code = before + b"\x48\x8d\x35" + struct.pack("<i", text_at - lea_end)  # lea rsi, [rip + text]
    code += b"\xba" + struct.pack("<I", length) + b"\x0f\x05"  # mov edx, length; syscall
    return code + b"\xb8" + struct.pack("<I", 60) + b"\x31\xff\x0f\x05"  # mov eax, 60; xor edi, edi; syscall


def _aarch64(text_at: int, length: int) -> bytes:
    """write(1, text, length); exit(0): x8, x0, x1, x2, then `svc #0`."""
    svc = 0xD4000001
    words = [
        _movz(8, 64),
        _movz(0, 1),
        0x10000000 | (_offset(text_at - 8) & 3) << 29 | (_offset(text_at - 8) >> 2) << 5 | 1,  # adr x1, text
        _movz(2, length),
        svc,
        _movz(8, 93),
        _movz(0, 0),
        svc,
    ]
    return struct.pack(f"<{len(words)}I", *words)


def _movz(register: int, value: int) -> int:
    if not 0 <= value < 1 << 16:
        raise ValueError(f"{value} does not fit a 16-bit immediate")
    return 0xD2800000 | value << 5 | register


def _offset(distance: int) -> int:
    if not 0 <= distance < 1 << 20:
        raise ValueError("the text is too far from the code")
    return distance


_MACHINES: dict[str, tuple[int, Callable[[int, int], bytes]]] = {
    "amd64": (_X86_64, _x86_64),
    "arm64": (_AARCH64, _aarch64),
}
ARCHITECTURES = tuple(_MACHINES)


def print_and_exit(architecture: str, text: bytes) -> bytes:
    """The program, as the bytes of an executable file, for `amd64` or `arm64`."""
    machine, assemble = _MACHINES[architecture]
    size = len(assemble(0x100, len(text)))
    text_at = -(-size // 16) * 16
    code = assemble(text_at, len(text)).ljust(text_at, b"\0") + text
    total = _CODE_AT + len(code)
    header = _HEADER.pack(
        _IDENT,
        _ET_EXEC,
        machine,
        _EV_CURRENT,
        _BASE + _CODE_AT,
        _HEADER.size,
        0,
        0,
        _HEADER.size,
        _PROGRAM.size,
        2,
        0,
        0,
        0,
    )
    load = _PROGRAM.pack(_PT_LOAD, _PF_RX, 0, _BASE, _BASE, total, total, _PAGE)
    stack = _PROGRAM.pack(_PT_GNU_STACK, _PF_RW, 0, 0, 0, 0, 0, 16)  # a stack that is not executable
    return header + load + stack + code
