"""The container's terminal: made in its own devpts, bound on /dev/console, handed to the parent. Runs in init.

The slave comes from the master (TIOCGPTPEER) and /dev/console is bound by descriptor onto a file of our own /dev
(CVE-2025-52565).
"""

from __future__ import annotations

import errno
import os
import stat

from corten.linux.mount import clone_tree, move_mount, new_filesystem
from corten.linux.openat2 import RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2
from corten.linux.pty import make_controlling, open_pty, set_window_size
from corten.runtime.inroot import ensure_in_root
from corten.runtime.steps.base import Context, Step


class OpenConsole(Step):
    """Open the terminal and send its master to the parent; with `bind` put its slave on /dev/console."""

    __slots__ = ("_bind", "_height", "_width")
    stage = "console"

    def __init__(self, *, width: int, height: int, bind: bool) -> None:
        self._width = width
        self._height = height
        self._bind = bind

    def describe(self) -> str:
        return "open the terminal"

    def run(self, context: Context) -> None:
        own = -1
        if context.devpts_fd < 0:
            own = new_filesystem("devpts", [("ptmxmode", "0666"), ("mode", "0620")])
        try:
            master, slave = open_pty(own if own >= 0 else context.devpts_fd)
        finally:
            if own >= 0:
                os.close(own)
        context.console = slave
        try:
            if self._width and self._height:
                set_window_size(master, width=self._width, height=self._height)
            context.channel.send({"type": "console"}, [master])
        finally:
            os.close(master)
        if self._bind and own < 0:
            self._bind_console(context, slave)

    def _bind_console(self, context: Context, slave: int) -> None:
        if context.dev_fd >= 0:
            os.close(os.open("console", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=context.dev_fd))
            resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
            target = openat2(context.dev_fd, "console", os.O_PATH | os.O_NOFOLLOW, resolve=resolve)
        else:
            target = ensure_in_root(context.root_fd, "/dev/console", directory=False, symlinks=False)
        try:
            clone = clone_tree(slave)
            try:
                move_mount(clone, target)
            finally:
                os.close(clone)
        finally:
            os.close(target)


class JoinConsole(Step):
    """In a process that joins: open a terminal of the container's own devpts, once its namespaces are entered."""

    __slots__ = ("_height", "_width")
    stage = "console"
    prefix = ""

    def __init__(self, *, width: int, height: int) -> None:
        self._width = width
        self._height = height

    def describe(self) -> str:
        return "open a terminal of the container"

    def run(self, context: Context) -> None:
        # /dev/pts is the container's to change by now; open_pty takes nothing but the ptmx of a real devpts.
        devpts = openat2(-100, "/dev/pts", os.O_PATH | os.O_DIRECTORY, resolve=RESOLVE_NO_SYMLINKS)
        try:
            master, slave = open_pty(devpts)
        finally:
            os.close(devpts)
        context.console = slave
        try:
            if self._width and self._height:
                set_window_size(master, width=self._width, height=self._height)
            context.channel.send({"type": "console"}, [master])
        finally:
            os.close(master)


class UseStdio(Step):
    """Put the terminal's slave, or the descriptors that the parent sent, on 0, 1 and 2; give them to the user."""

    __slots__ = ("_uid",)
    stage = "stdio"

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def describe(self) -> str:
        return "set up stdin, stdout and stderr"

    def run(self, context: Context) -> None:
        if context.console >= 0:
            make_controlling(context.console)
        for number in range(3):
            source = context.console if context.console >= 0 else context.stdio[number]
            if source != number:
                os.dup2(source, number, inheritable=True)
            else:
                os.set_inheritable(number, True)
        self._give_to_user(context)

    def _give_to_user(self, context: Context) -> None:
        """So that a user who is not root may reopen /dev/stdout.

        Only pipes and our own terminal: what else a caller passes (a log file, its own terminal) is the host's.
        """
        for number in range(3):
            status = os.fstat(number)
            if status.st_uid == self._uid or not (context.console >= 0 or stat.S_ISFIFO(status.st_mode)):
                continue
            try:
                os.fchown(number, self._uid, -1)
            except OSError as error:
                if error.errno not in {errno.EPERM, errno.EINVAL, errno.EROFS}:
                    raise
