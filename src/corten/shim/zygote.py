"""The process that forks: single-threaded, pre-warmed, stateless. Started by the daemon before anything else.

`python -I -S` with an import allow-list (tests/arch): a fork of a 10 MiB process costs half a millisecond, and
`gc.freeze` keeps its pages shared. Each request on the control socket carries the daemon's end of a new shim's control
socket; the child becomes that shim (forking.py). The zygote keeps nothing, so the daemon may start another at any time;
when the daemon goes away it ends, and the shims live on.

A shim pays for each page that it writes to, and Python writes where it reads. What a shim runs is therefore loaded last
and side by side (gaps.py), and has run before (rehearsal.py).
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module

from corten.linux.cgroup import cgroup_mounts
from corten.linux.process import set_name
from corten.runtime.failure import StartFailed
from corten.runtime.sealed import run_sealed
from corten.shim.gaps import fill_gaps

# What shims share with launchers or leave to them. Loaded first; what is named here brings the rest along.
_SHARED = ("json", "traceback", "corten.runtime.join", "corten.runtime.launch", "corten.shim.netns_sockets")
_FILLING: list[list[bytes]] = []


def preload() -> Callable[[socket.socket], None]:
    """Load and rehearse what forked processes run; `forking.serve`."""
    for name in _SHARED:
        import_module(name)
    cgroup_mounts()  # read once, for all shims
    gc.collect()
    _FILLING.append(fill_gaps())
    from corten.shim.forking import serve
    from corten.shim.rehearsal import rehearse

    gc.freeze()  # what is loaded stays, so that collecting what a rehearsal leaves takes no time
    try:
        rehearse()
    except (OSError, StartFailed) as error:  # shims work without, and take more memory
        sys.stderr.write(f"zygote: rehearsal: {error}\n")
    gc.collect()
    _FILLING.append(fill_gaps())
    return serve


def main(fd: int) -> None:
    """Entry of the process: `fd` is the inherited control socket."""
    try:
        run_sealed()
    except OSError as error:  # no detached mounts here: say it, and go on as runc before 1.0-rc7 did
        sys.stderr.write(f"zygote: the interpreter is not protected from containers: {error}\n")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the daemon's terminal is the daemon's to handle
    os.chdir("/")
    os.umask(0o022)
    set_name("corten-zygote")
    serve = preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps shims
    gc.disable()
    gc.freeze()
    serve(socket.socket(fileno=fd))
