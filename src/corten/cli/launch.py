"""Starting the daemon on demand, when nothing answers on the default socket. Only root can.

Several commands may find no daemon at once: they take a lock, the first starts it, the others find it running. The
daemon gets a session and a log file of its own, and none of the user's descriptors.
"""

from __future__ import annotations

import os
import sys
import time

from corten.client.dial import dial
from corten.client.errors import EngineUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from corten.client.address import Address

_WAIT_S = 20.0
_STEP_S = 0.004
_LOG_TAIL = 2000


def daemon_argv() -> list[str]:
    """How the daemon is run: with the interpreter that has its dependencies, from the code that runs now."""
    python = os.environ.get("CORTEN_PYTHON") or sys.executable
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    return [python, "-I", os.path.join(package, "__main__.py"), "daemon"]


def become_daemon(arguments: list[str]) -> None:
    """Execute the daemon in this process's place."""
    argv = [*daemon_argv(), *arguments]
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


def start_daemon(address: Address) -> _socket.socket:
    """Start the daemon and connect to it; raises EngineUnreachable with what to do."""
    if os.geteuid() != 0:
        raise EngineUnreachable(
            f"Cannot connect to the Corten daemon at {address.host}: it is not running, and only root can start it.",
            hint="start it with: sudo corten daemon",
        )
    import fcntl

    folder = os.path.dirname(address.path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    lock = os.open(os.path.join(folder, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return dial(address)
        except EngineUnreachable:
            pass
        return _start_and_wait(address, os.path.join(folder, "daemon.log"))
    finally:
        os.close(lock)


def _start_and_wait(address: Address, log_path: str) -> _socket.socket:
    pid = _spawn(daemon_argv(), log_path)
    limit = time.monotonic() + _WAIT_S
    while True:
        try:
            sock = dial(address)
        except EngineUnreachable as error:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                raise EngineUnreachable(
                    f"the Corten daemon ended at its start with status {code}: {_last_words(log_path)}",
                    hint=f"its log is {log_path}",
                ) from error
            if time.monotonic() > limit:
                raise EngineUnreachable(
                    f"the Corten daemon did not open {address.path} within {_WAIT_S:.0f} s",
                    hint=f"see its log: {log_path}",
                ) from error
            time.sleep(_STEP_S)
            continue
        sys.stderr.write("Started the Corten daemon (stop it with: corten daemon stop)\n")
        return sock


def _spawn(argv: list[str], log_path: str) -> int:
    """Fork and execute, detached: own session, root directory, output to the log, nothing else inherited."""
    environment = {key: value for key, value in os.environ.items() if key not in ("CORTEN_HOST", "DOCKER_HOST")}
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(log)
        os.close(null)
        return pid
    try:
        os.setsid()
        os.chdir("/")
        os.umask(0o022)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, min(4096, os.sysconf("SC_OPEN_MAX")))
        os.execve(argv[0], argv, environment)  # noqa: S606 - no shell is wanted
    except BaseException as error:
        os.write(2, f"cannot execute {argv[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _last_words(path: str) -> str:
    """The last line that is not one of a traceback's inner lines: why it ended."""
    with open(path, "rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
        lines = log.read().decode("utf-8", "replace").splitlines()
    said = [line for line in lines if line.strip() and not line.startswith(" ")]
    return said[-1] if said else "it said nothing"
