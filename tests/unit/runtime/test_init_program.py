from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest

from corten.runtime.init_program import init_program, machine_code


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_file_is_a_static_program_whose_one_segment_holds_it_all(machine: str, number: int) -> None:
    program = init_program(machine)
    assert program[:7] == b"\x7fELF\x02\x01\x01"
    kind, found, _version, entry, headers = struct.unpack_from("<HHIQQ", program, 16)
    assert (kind, found, headers) == (2, number, 64)
    _type, flags, offset, address, _physical, size, memory, _align = struct.unpack_from("<IIQQQQQQ", program, 64)
    assert (flags, offset, size, memory) == (5, 0, len(program), len(program))
    assert program[entry - address :].startswith(machine_code(machine))
    assert program.endswith(b"corten-init\0corten-init: exec failed\n")


def test_every_instruction_of_aarch64_is_a_word() -> None:
    assert len(machine_code("aarch64")) % 4 == 0


def start(tmp_path: Path, *args: str, path: str = "/bin/sh") -> int:
    program = tmp_path / "init"
    program.write_bytes(init_program())
    program.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            # os.execve takes a mapping; the path that goes first must be a string with "=" in it only for that.
            os.execve(program, ["corten-init", "--", *args], {path.partition("=")[0]: path.partition("=")[2]})
        finally:
            os._exit(99)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def shell(tmp_path: Path) -> str:
    """A path to the shell that can stand in an environment of names and values."""
    (tmp_path / "a=sh").symlink_to("/bin/sh")
    return str(tmp_path / "a=sh")


def test_the_commands_status_becomes_its_own(tmp_path: Path, shell: str) -> None:
    assert ended(start(tmp_path, "sh", "-c", "exit 5", path=shell)) == 5
    assert ended(start(tmp_path, "sh", "-c", "kill -9 $$", path=shell)) == 137


def test_signals_are_passed_on(tmp_path: Path, shell: str) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    pid = start(tmp_path, "sh", "-c", f"trap 'exit 7' USR1; echo >{ready}; while :; do sleep 0.01; done", path=shell)
    with ready.open() as fifo:
        fifo.read()
    os.kill(pid, signal.SIGUSR1)
    assert ended(pid) == 7


@pytest.mark.parametrize(("name", "code"), [("absent=1", 127), ("data=1", 126)])
def test_a_command_that_cannot_run_is_126_or_127(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "data=1").write_text("x")
    assert ended(start(tmp_path, "x", path=str(tmp_path / name))) == code
