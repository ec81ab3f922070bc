"""The process that forks: single-threaded, pre-warmed, stateless. Started by the daemon before anything else.

`python -I -S` with an import allow-list (tests/arch): a fork of a 10 MiB process costs half a millisecond, and
`gc.freeze` keeps its pages shared. Each request on the control socket carries the daemon's end of a new shim's control
socket; the child becomes that shim (shim.py). The zygote keeps nothing, so the daemon may start another at any time;
when the daemon goes away it ends, and the shims live on.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import traceback

from corten.linux import process
from corten.linux.cgroup import cgroup_mounts
from corten.runtime.sealed import run_sealed
from corten.shim import protocol, shim


def _become_shim(control: socket.socket, request: protocol.Message, sketch: int) -> None:
    gc.enable()  # what was frozen stays shared; only what the shim makes is collected
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    process.set_name("corten-shim")
    process.set_child_subreaper()
    try:
        shim.main(control, request, sketch)
    except BaseException:  # the last frame of this process: what it cannot report is printed to the daemon's log
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def serve(control: socket.socket) -> None:
    """Fork a shim for each request until the daemon closes its end."""
    receiver = protocol.Receiver(control)
    while True:
        item = receiver.take()
        if item is None:
            if not receiver.fill():
                return
            continue
        request, fds = item
        try:
            pid = os.fork()
        except OSError as error:  # EAGAIN: the machine is full; the daemon sees its socket close
            sys.stderr.write(f"zygote: fork: {error}\n")
            pid = -1
        if pid == 0:
            control.close()
            _become_shim(socket.socket(fileno=fds[0]), request, fds[1] if len(fds) > 1 else -1)
        for fd in fds:
            os.close(fd)


def main(fd: int) -> None:
    """Entry of the process: `fd` is the inherited control socket."""
    try:
        run_sealed()
    except OSError as error:  # no detached mounts here: say it, and go on as runc before 1.0-rc7 did
        sys.stderr.write(f"zygote: the interpreter is not protected from containers: {error}\n")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps shims
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the daemon's terminal is the daemon's to handle
    os.chdir("/")
    os.umask(0o022)
    process.set_name("corten-zygote")
    cgroup_mounts()  # read once, for all shims
    gc.collect()
    gc.disable()
    gc.freeze()
    serve(socket.socket(fileno=fd))
