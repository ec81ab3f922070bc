"""The zygote lives a shim's life a few times before it forks the first one, so that shims write to less memory.

Runs in the zygote, once, before gc.freeze. The interpreter keeps what it learns in the code that it runs: counters,
specialised instructions (PEP 659), attribute and method caches, the shared keys of instances. A shim that is the first
to run a function learns it anew, and each page that it writes to is a copy of its own for as long as its container
lives. What the zygote has learnt all shims share.

Only launcher and init are pretended ones: they make nothing, so that a rehearsal leaves nothing on disk, in a cgroup
or running, whenever it is killed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket

from corten.linux.process import default_signal, pidfd_open, set_name
from corten.shim import protocol
from corten.shim.launcher import Link
from corten.shim.shim import Shim

_LIVES = 10  # Python 3.11 specialises a function after eight calls, later ones sooner
_SIGCHLD = int(signal.SIGCHLD)
_REQUEST = {"id": "rehearsal", "dir": "/nonexistent", "cgroup": "/rehearsal"}
_ATTACH = {"do": "attach", "seq": 1, "stdin": False, "stdout": True, "stderr": True}
_LOG = {"driver": "json-file", "path": os.devnull}
_START = {"do": "start", "seq": 2, "tty": False, "open_stdin": False, "stdin_once": False, "log": _LOG}


def rehearse() -> None:
    """Live a shim's life until its container runs and has said something. Raises OSError, StartFailed."""
    end, init = _stand_in()
    before = _descriptors()
    try:
        for _life in range(_LIVES):
            _live(init)
            gc.collect()  # closes what objects own
            for fd in _descriptors() - before:
                with contextlib.suppress(OSError):  # the listing's own
                    os.close(fd)
    finally:
        os.close(end)
        os.waitpid(init, 0)


def _stand_in() -> tuple[int, int]:
    """In place of init: a child that ends when the returned descriptor is closed, also by the zygote's death."""
    wait, end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(end)
        os.read(wait, 1)
        os._exit(0)
    os.close(wait)
    return end, pid


def _descriptors() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd")}


def _live(init: int) -> None:
    default_signal(_SIGCHLD)  # as a shim begins, but for setsid and PR_SET_CHILD_SUBREAPER, which would be for ever
    set_name("corten-zygote")
    daemon, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    user, client = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    shim = Shim(control.detach(), dict(_REQUEST))
    shim.prepare(protocol.write_document({}), lambda link, *_what: _pretend(link, init))
    protocol.send(daemon, _ATTACH, [client.fileno()])
    client.close()
    shim.reactor.run_once()
    document = protocol.write_document({})
    protocol.send(daemon, _START, [document])
    os.close(document)
    shim.reactor.run_once()
    while not select.select([user], [], [], 0)[0]:
        shim.reactor.run_once()
    if shim.init is not None:
        shim.init.adopt()


def _pretend(link: Link, init: int) -> None:
    """In place of launch_container: a container without a cgroup, which says a word and goes on."""
    link.reply({"pid": init}, [pidfd_open(init), pidfd_open(os.getpid()), _listener()])
    request = link.next()
    if request is not None:
        _message, fds = request
        os.write(fds[2], b"ready\n")
        link.reply({"oom": False}, [])


def _listener() -> int:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")  # an abstract name of the kernel's choice
    listener.listen()
    return listener.detach()
