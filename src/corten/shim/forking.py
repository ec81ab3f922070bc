"""Forks a shim for each request of the daemon, or makes sockets for it. Runs in the zygote (zygote.py), which has
loaded all of it before."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import traceback

from corten.linux.process import default_signal, set_child_subreaper, set_name
from corten.shim import protocol
from corten.shim.netns_sockets import hand_out_sockets
from corten.shim.shim import main

_SIGCHLD = int(signal.SIGCHLD)


def _become_shim(request: protocol.Message, fds: list[int]) -> None:
    gc.enable()  # what was frozen stays shared; only what the shim makes is collected
    default_signal(_SIGCHLD)
    os.setsid()
    set_name("corten-shim")
    set_child_subreaper()
    try:
        main(request, *fds)
    except BaseException:  # the last frame of this process: what it cannot report is printed to the daemon's log
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def serve(control: socket.socket) -> None:
    """Fork a shim for each request, or make sockets, until the daemon closes its end."""
    receiver = protocol.Receiver(control)
    while True:
        item = receiver.take()
        if item is None:
            if not receiver.fill():
                return
            continue
        request, fds = item
        if "sockets" in request:
            hand_out_sockets(request, *fds)
            continue
        try:
            pid = os.fork()
        except OSError as error:  # EAGAIN: the machine is full; the daemon sees its socket close
            sys.stderr.write(f"zygote: fork: {error}\n")
            pid = -1
        if pid == 0:
            os.close(control.fileno())  # not by its method: that is code which no other part of a shim runs
            _become_shim(request, fds)
        for fd in fds:
            os.close(fd)
