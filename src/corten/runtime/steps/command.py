"""From "all is set up" to execve: environment, lookup of the command, the last descriptors, seccomp, execve.

Runs in init and in processes that join. After the filter is loaded nothing but capset and execve is called: all of
their memory is laid out before, since a filter may refuse whatever else the interpreter would ask the kernel.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from corten.linux.credentials import Capset, capget
from corten.linux.errors import reason
from corten.linux.process import Execve, close_range
from corten.linux.seccomp_load import SeccompFilter
from corten.runtime.failure import StartFailed
from corten.runtime.init_program import init_program
from corten.runtime.lookup import go_quoted, look_path
from corten.runtime.steps.base import Context, Step
from corten.runtime.steps.privileges import CAP_SYS_ADMIN

_MAX_PASSWD = 10 << 20
_MFD_EXEC = 0x10
_SHEBANG_SIZE = 256  # BINPRM_BUF_SIZE of the kernel
_MAX_INTERPRETERS = 5  # and how many #! lines it follows
# What runc's init exits with when the execve itself fails, after the start was already reported as done.
EXEC_FAILED = 255


class PrepareCommand(Step):
    """Find the command as the final user, in the container's own PATH."""

    __slots__ = ("_args", "_env", "_uid")
    stage = "exec"
    prefix = ""

    def __init__(self, args: Sequence[str], env: Sequence[str], uid: int) -> None:
        self._args = args
        self._env = env
        self._uid = uid

    def describe(self) -> str:
        return f"look up {self._args[0]!r}"

    def run(self, context: Context) -> None:
        environment = list(self._env)
        if not any(item.startswith("HOME=") for item in environment):
            environment.append(f"HOME={home_of(self._uid)}")
        context.environment = environment
        context.executable = look_path(self._args[0], environment)
        refuse_own_executable(context.executable, context.own_executable)


def refuse_own_executable(path: str, own: tuple[int, int]) -> None:
    """Refuse a command that is, or whose `#!` line names, the host's interpreter by way of /proc (CVE-2019-5736).

    The interpreter's file cannot be written anyway (runtime/sealed.py); this makes the attempt a clear error.
    """
    for _ in range(_MAX_INTERPRETERS):
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) == own:
                raise StartFailed("exec", errno.EACCES, f"exec: {go_quoted(path)}: {reason(errno.EACCES)}")
            if not stat.S_ISREG(status.st_mode):
                return  # opening a device may do something; execve refuses it anyway
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # it may be executable and not readable; execve will tell
        try:
            head = os.read(fd, _SHEBANG_SIZE)
        except OSError:
            return
        finally:
            os.close(fd)
        words = head[2:].split(b"\n", 1)[0].split() if head.startswith(b"#!") else []
        if not words:
            return
        path = os.fsdecode(words[0])


def home_of(uid: int) -> str:
    """The home directory that the container's /etc/passwd gives `uid`, or "/". Bounded, and never blocks on a FIFO."""
    try:
        fd = os.open("/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "/"
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return "/"
        data = os.read(fd, _MAX_PASSWD)
    except OSError:
        return "/"
    finally:
        os.close(fd)
    wanted = str(uid).encode()
    for line in data.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted:
            return os.fsdecode(fields[5]) or "/"
    return "/"


class Command:
    """The end of the start: everything ready in memory, then no return."""

    def __init__(self, context: Context, process: Mapping[str, Any], program: bytes | None, flags: int) -> None:
        self._name = context.executable
        self.init_fd = -1  # the open file of the program that is process 1, with --init
        arguments = list(process["args"])
        if context.request.get("init"):
            self.init_fd = open_init_program(above=3 + len(context.fds))
            arguments = ["corten-init", "--", *arguments]
            self._execve = Execve(self.init_fd, arguments, [context.executable, *context.environment])
        else:
            self._execve = Execve(context.executable, arguments, context.environment)
        self._filter = SeccompFilter(program, flags) if program else None
        self._before: Capset | None = None
        self._after: Capset | None = None
        if self._filter is not None and context.final_capset is not None:
            effective, permitted, inheritable = context.final_capset
            _, held, _ = capget()
            self._before = Capset(effective=effective | CAP_SYS_ADMIN, permitted=held, inheritable=inheritable)
            self._after = Capset(effective=effective, permitted=permitted, inheritable=inheritable)

    def confine(self) -> None:
        """Load the seccomp filter and drop what was only kept for it. Raises SyscallError."""
        if self._before is not None:
            self._before.run()
        if self._filter is not None:
            self._filter.load()
        if self._after is not None:
            self._after.run()

    def run(self) -> NoReturn:
        """execve; when the kernel refuses the file, say so on the container's stderr as runc does."""
        number = self._execve.run()
        try:
            os.write(2, f"exec {self._name}: {reason(number)}\n".encode("utf-8", "surrogateescape"))
        finally:
            os._exit(EXEC_FAILED)


def open_init_program(*, above: int) -> int:
    """The program of `--init` as an executable file without a name, sealed (memfd_create(2)), on a descriptor `above`
    those that the command gets."""
    try:
        fd = os.memfd_create("corten-init", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # before Linux 6.3 all were executable
            raise
        fd = os.memfd_create("corten-init", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, init_program())
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, above)
    finally:
        os.close(fd)


def reset_signals() -> None:
    """Undo what the interpreter and the zygote did to signals: nothing ignored, nothing blocked (signal(7))."""
    for number in range(1, signal.NSIG):
        try:
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            continue
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def close_other_descriptors(keep: Sequence[int]) -> None:
    """Close every descriptor above 2 that is not in `keep`, so that no path leads through one (CVE-2024-21626)."""
    first = 3
    for fd in sorted(set(keep)):
        if fd >= first:
            close_range(first, fd - 1)
            first = fd + 1
    close_range(first)
