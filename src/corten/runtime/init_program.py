"""`--init`: a process 1 of some 400 bytes of machine code, for x86-64 and AArch64. Pure; steps/command.py uses it.

It does what tini (Docker's docker-init) does: runs the command as its child, in a process group of its own and with
the terminal, forwards signals to it, reaps orphans, and ends with the child's status (128 + n after signal n). Written
as a listing of encoded instructions (the bytes, the instruction) because a whole interpreter as process 1 would cost
megabytes a container and would show the container the host's executable.

    main:   prctl(name); block all signals; child = clone()
    wait:   n = sigtimedwait(all but faults and terminal stops); SIGCHLD: reap, else kill(child, n)
    reap:   wait4(any) until nothing is left; the child's end is ours
    child:  setpgid, tcsetpgrp, unblock, execve; failing that exit 127 (not found) or 126

It is started with arguments `corten-init -- ARG...` and the command's path as first environment string, the command's
own environment after it.
"""

from __future__ import annotations

import struct

from corten.linux.syscalls import MACHINE

# The signals that are waited for: all but FPE ILL SEGV BUS ABRT TRAP SYS TTIN TTOU, as in tini.
_X86_64 = """
    488b0424                mov rax, [rsp]
    4c8d6c2408              lea r13, [rsp+8]
    4d8d74c508              lea r14, [r13+rax*8+8]
    4883ec20                sub rsp, 32
    48b807fbcfbfffffffff    movabs rax, 0xffffffffbfcffb07
    48890424                mov [rsp], rax
    48c7442408ffffffff      mov [rsp+8], -1
    48c744241000000000      mov [rsp+16], 0
    b89d000000              mov eax, 157  ; prctl(PR_SET_NAME)
    bf0f000000              mov edi, 15
    488d3531010000          lea rsi, [rip+name]
    0f05                    syscall
    b80e000000              mov eax, 14  ; rt_sigprocmask(SIG_SETMASK)
    bf02000000              mov edi, 2
    488d742408              lea rsi, [rsp+8]
    31d2                    xor edx, edx
    41ba08000000            mov r10d, 8
    0f05                    syscall
    b838000000              mov eax, 56  ; clone(SIGCHLD)
    bf11000000              mov edi, 17
    31f6                    xor esi, esi
    31d2                    xor edx, edx
    4531d2                  xor r10d, r10d
    4531c0                  xor r8d, r8d
    0f05                    syscall
    85c0                    test eax, eax
    7479                    je child
    0f88c7000000            js failed
    4189c4                  mov r12d, eax
wait:
    b880000000              mov eax, 128  ; rt_sigtimedwait
    4889e7                  mov rdi, rsp
    31f6                    xor esi, esi
    31d2                    xor edx, edx
    41ba08000000            mov r10d, 8
    0f05                    syscall
    85c0                    test eax, eax
    78e8                    js wait
    83f811                  cmp eax, 17
    740e                    je reap
    89c6                    mov esi, eax
    4489e7                  mov edi, r12d
    b83e000000              mov eax, 62  ; kill
    0f05                    syscall
    ebd5                    jmp wait
reap:
    b83d000000              mov eax, 61  ; wait4(-1, &status, WNOHANG)
    48c7c7ffffffff          mov rdi, -1
    488d742418              lea rsi, [rsp+24]
    ba01000000              mov edx, 1
    4531d2                  xor r10d, r10d
    0f05                    syscall
    85c0                    test eax, eax
    7eb6                    jle wait
    4439e0                  cmp eax, r12d
    75dc                    jne reap
    8b7c2418                mov edi, [rsp+24]
    89f8                    mov eax, edi
    83e07f                  and eax, 127
    750e                    jne signalled
    c1ef08                  shr edi, 8
    81e7ff000000            and edi, 255
    e984000000              jmp exit
signalled:
    8db880000000            lea edi, [rax+128]
    eb7c                    jmp exit
child:
    b86d000000              mov eax, 109  ; setpgid(0, 0)
    31ff                    xor edi, edi
    31f6                    xor esi, esi
    0f05                    syscall
    b827000000              mov eax, 39  ; getpid
    0f05                    syscall
    89442418                mov [rsp+24], eax
    b810000000              mov eax, 16  ; ioctl(0, TIOCSPGRP)
    31ff                    xor edi, edi
    be10540000              mov esi, 0x5410
    488d542418              lea rdx, [rsp+24]
    0f05                    syscall
    b80e000000              mov eax, 14  ; rt_sigprocmask(SIG_SETMASK)
    bf02000000              mov edi, 2
    488d742410              lea rsi, [rsp+16]
    31d2                    xor edx, edx
    41ba08000000            mov r10d, 8
    0f05                    syscall
    b83b000000              mov eax, 59  ; execve(envp[0], argv + 2, envp + 1)
    498b3e                  mov rdi, [r14]
    498d7510                lea rsi, [r13+16]
    498d5608                lea rdx, [r14+8]
    0f05                    syscall
failed:
    4189c4                  mov r12d, eax
    b801000000              mov eax, 1  ; write(2)
    bf02000000              mov edi, 2
    488d3527000000          lea rsi, [rip+text]
    ba19000000              mov edx, 25
    0f05                    syscall
    bf7e000000              mov edi, 126
    4183fcfe                cmp r12d, -2
    7502                    jne exit
    ffc7                    inc edi
exit:
    b8e7000000              mov eax, 231  ; exit_group
    0f05                    syscall
"""
_AARCH64 = """
    e00340f9  ldr x0, [sp]
    f3230091  add x19, sp, #8
    740e008b  add x20, x19, x0, lsl #3
    94220091  add x20, x20, #8
    ff8300d1  sub sp, sp, #32
    e1609fd2  mov x1, #0xfb07
    e1f9b7f2  movk x1, #0xbfcf, lsl #16
    e1ffdff2  movk x1, #0xffff, lsl #32
    e1fffff2  movk x1, #0xffff, lsl #48
    02008092  mov x2, #-1
    e10b00a9  stp x1, x2, [sp]
    ff7f01a9  stp xzr, xzr, [sp, #16]
    e81480d2  mov x8, #167  ; prctl(PR_SET_NAME)
    e00180d2  mov x0, #15
    610a0010  adr x1, name
    010000d4  svc #0
    e81080d2  mov x8, #135  ; rt_sigprocmask(SIG_SETMASK)
    400080d2  mov x0, #2
    e1230091  add x1, sp, #8
    020080d2  mov x2, #0
    030180d2  mov x3, #8
    010000d4  svc #0
    881b80d2  mov x8, #220  ; clone(SIGCHLD)
    200280d2  mov x0, #17
    010080d2  mov x1, #0
    020080d2  mov x2, #0
    030080d2  mov x3, #0
    040080d2  mov x4, #0
    010000d4  svc #0
    40040034  cbz w0, child
    0007f837  tbnz w0, #31, failed
    f503002a  mov w21, w0
wait:
    281180d2  mov x8, #137  ; rt_sigtimedwait
    e0030091  mov x0, sp
    010080d2  mov x1, #0
    020080d2  mov x2, #0
    030180d2  mov x3, #8
    010000d4  svc #0
    40ffff37  tbnz w0, #31, wait
    1f440071  cmp w0, #17
    c0000054  b.eq reap
    e103002a  mov w1, w0
    e003152a  mov w0, w21
    281080d2  mov x8, #129  ; kill
    010000d4  svc #0
    f3ffff17  b wait
reap:
    882080d2  mov x8, #260  ; wait4(-1, &status, WNOHANG)
    00008092  mov x0, #-1
    e1630091  add x1, sp, #24
    220080d2  mov x2, #1
    030080d2  mov x3, #0
    010000d4  svc #0
    1f000071  cmp w0, #0
    6dfdff54  b.le wait
    1f00156b  cmp w0, w21
    e1feff54  b.ne reap
    e01b40b9  ldr w0, [sp, #24]
    01180072  ands w1, w0, #0x7f
    61000054  b.ne signalled
    003c0853  ubfx w0, w0, #8, #8
    23000014  b exit
signalled:
    20000211  add w0, w1, #128
    21000014  b exit
child:
    481380d2  mov x8, #154  ; setpgid(0, 0)
    000080d2  mov x0, #0
    010080d2  mov x1, #0
    010000d4  svc #0
    881580d2  mov x8, #172  ; getpid
    010000d4  svc #0
    e01b00b9  str w0, [sp, #24]
    a80380d2  mov x8, #29  ; ioctl(0, TIOCSPGRP)
    000080d2  mov x0, #0
    01828ad2  mov x1, #0x5410
    e2630091  add x2, sp, #24
    010000d4  svc #0
    e81080d2  mov x8, #135  ; rt_sigprocmask(SIG_SETMASK)
    400080d2  mov x0, #2
    e1430091  add x1, sp, #16
    020080d2  mov x2, #0
    030180d2  mov x3, #8
    010000d4  svc #0
    a81b80d2  mov x8, #221  ; execve(envp[0], argv + 2, envp + 1)
    800240f9  ldr x0, [x20]
    61420091  add x1, x19, #16
    82220091  add x2, x20, #8
    010000d4  svc #0
failed:
    f503002a  mov w21, w0
    080880d2  mov x8, #64  ; write(2)
    400080d2  mov x0, #2
    61010010  adr x1, text
    220380d2  mov x2, #25
    010000d4  svc #0
    c00f80d2  mov x0, #126
    bf0a0031  cmn w21, #2
    0014809a  cinc x0, x0, eq
exit:
    c80b80d2  mov x8, #94  ; exit_group
    010000d4  svc #0
"""
_TEXTS = b"corten-init\0corten-init: exec failed\n"  # the listings reach them relative to their last instruction
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}
_BASE = 0x400000
_HEADERS = 64 + 2 * 56
_ALIGNMENT = 0x10000  # AArch64 kernels may have pages of 64 KiB


def machine_code(machine: str) -> bytes:
    """The bytes of a listing: first word of each line that is no label."""
    lines = (line.split() for line in _MACHINES[machine][1].splitlines())
    return b"".join(bytes.fromhex(words[0]) for words in lines if words and not words[0].endswith(":"))


def init_program(machine: str = MACHINE) -> bytes:
    """The program as an ELF file (System V ABI, "Object Files"). Raises KeyError on other machines."""
    code = machine_code(machine) + _TEXTS
    size = _HEADERS + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,  # ET_EXEC
        _MACHINES[machine][0],
        1,
        _BASE + _HEADERS,
        64,
        0,
        0,
        64,
        56,
        2,
        0,
        0,
        0,
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, _ALIGNMENT)  # PT_LOAD, read and execute
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)  # PT_GNU_STACK, not executable
    return header + load + stack + code
