"""OCI hooks: run a program with the container's state on its stdin, bounded in time. Stdlib only.

createRuntime, prestart, poststart and poststop run in the parent (the runtime's namespaces), createContainer and
startContainer in init. The process that runs hooks has one thread, so that a plain fork is safe.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from corten.linux.process import pidfd_open, pidfd_send_signal
from corten.runtime.failure import StartFailed

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Hooks without a timeout of their own may take this long: every wait is bounded.
_DEFAULT_TIMEOUT_S = 300.0
_MAX_OUTPUT = 1 << 16


def container_state(
    *, container_id: str, status: str, pid: int, bundle: str, annotations: Mapping[str, str] | None
) -> dict[str, Any]:
    """The state document of runtime.md, as hooks and `state` give it."""
    state: dict[str, Any] = {"ociVersion": "1.2.0", "id": container_id, "status": status}
    if pid:
        state["pid"] = pid
    state["bundle"] = bundle
    if annotations:
        state["annotations"] = dict(annotations)
    return state


def run_hooks(kind: str, hooks: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
    """Run the hooks of one kind in their order. Raises StartFailed at the first that fails."""
    document = json.dumps(state).encode("utf-8", "surrogatepass")
    for index, hook in enumerate(hooks):
        try:
            _run(hook, document)
        except StartFailed as failed:
            raise StartFailed("hook", failed.errno, f"error running {kind} hook #{index}: {failed.text}") from failed


def _run(hook: Mapping[str, Any], document: bytes) -> None:
    stdin_read, stdin_write = os.pipe()
    output_read, output_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _exec(hook, stdin_read, output_write)
    os.close(stdin_read)
    os.close(output_write)
    pidfd = -1
    try:
        pidfd = pidfd_open(pid)
        status, output = _wait(pid, pidfd, stdin_write, output_read, document, hook.get("timeout"))
    finally:
        for fd in (output_read, pidfd):
            if fd >= 0:
                os.close(fd)
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        words = f"exit status {code}" if code >= 0 else f"signal: {signal.strsignal(-code)}"
        raise StartFailed("hook", 0, f"{words}, stdout: , stderr: {output.decode('utf-8', 'replace').strip()}")


def _wait(pid: int, pidfd: int, stdin: int, output: int, document: bytes, timeout: float | None) -> tuple[int, bytes]:
    """Feed the state, gather the output, wait for the end of process `pid`: (wait status, output)."""
    deadline = time.monotonic() + (timeout if timeout and timeout > 0 else _DEFAULT_TIMEOUT_S)
    os.set_blocking(stdin, False)
    os.set_blocking(output, False)
    gathered = bytearray()
    rest = memoryview(document)
    ended = False
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(output, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    try:
        while not ended:
            left = deadline - time.monotonic()
            if left <= 0:
                pidfd_send_signal(pidfd, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise StartFailed("hook", 0, f"hook ran past specified timeout of {timeout or _DEFAULT_TIMEOUT_S:.1f}s")
            for fd, _event in poll.poll(left * 1000):
                if fd == pidfd:
                    ended = True
                elif fd == stdin:
                    rest = _feed(stdin, rest)
                    if not rest:
                        poll.unregister(stdin)
                        os.close(stdin)
                        stdin = -1
                elif not _gather(output, gathered):
                    poll.unregister(output)
        _gather(output, gathered)
        return os.waitpid(pid, 0)[1], bytes(gathered)
    finally:
        if stdin >= 0:
            os.close(stdin)


def _feed(stdin: int, rest: memoryview) -> memoryview:
    """Write what fits; nothing is left when the hook does not want to read it."""
    try:
        return rest[os.write(stdin, rest) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        return rest[:0]


def _gather(output: int, gathered: bytearray) -> bool:
    """Read what is there, keeping the first part only. False at the end."""
    try:
        data = os.read(output, _MAX_OUTPUT)
    except BlockingIOError:
        return True
    gathered += data[: max(0, _MAX_OUTPUT - len(gathered))]
    return bool(data)


def _exec(hook: Mapping[str, Any], stdin: int, output: int) -> None:
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.dup2(stdin, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, 4096)
        args = [*(hook.get("args") or [hook["path"]])]
        environment = dict(item.split("=", 1) for item in hook.get("env") or () if "=" in item)
        os.execve(hook["path"], args, environment)  # noqa: S606 - a hook is a program named by the spec
    except BaseException as error:
        os.write(2, f"fork/exec {hook.get('path')}: {error}".encode("utf-8", "replace"))
    finally:
        os._exit(127)
