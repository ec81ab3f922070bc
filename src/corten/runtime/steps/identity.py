"""Names and knobs of the namespaces: hostname, domainname, sysctl. Runs in init.

Every write into procfs goes below a descriptor of a procfs mount of our own, checked to be one, without links and
without crossing mounts (CVE-2025-52881).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from corten.linux.errors import fail
from corten.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2
from corten.linux.process import setdomainname, sethostname
from corten.linux.pty import filesystem_magic
from corten.runtime.failure import StartFailed
from corten.runtime.steps.base import INIT_PREFIX, Context, Step
from corten.runtime.steps.mounts import PROC_SUPER_MAGIC


def write_proc(context: Context, path: str, value: str) -> None:
    """Write a file of procfs, `path` being relative to its root. Raises OSError."""
    if filesystem_magic(context.proc_fd) != PROC_SUPER_MAGIC:
        fail(errno.EXDEV, "open", path, "not a procfs")
    resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS
    fd = openat2(context.proc_fd, path, os.O_WRONLY, resolve=resolve)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


class SetNames(Step):
    """Set the host and domain name of the UTS namespace."""

    __slots__ = ("_domainname", "_hostname")
    stage = "hostname"

    def __init__(self, hostname: str, domainname: str) -> None:
        self._hostname = hostname
        self._domainname = domainname

    def describe(self) -> str:
        return f"set hostname {self._hostname}"

    def run(self, context: Context) -> None:
        if self._hostname:
            sethostname(self._hostname)
        if self._domainname:
            setdomainname(self._domainname)


class SetSysctls(Step):
    """Write `linux.sysctl`."""

    __slots__ = ("_values",)
    stage = "sysctl"

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def describe(self) -> str:
        return f"set {len(self._values)} sysctls"

    def run(self, context: Context) -> None:
        for key, value in self._values.items():
            # A key with slashes is taken as it is, so that names with dots in them can be written (sysctl(8)).
            path = "sys/" + (key if "/" in key else key.replace(".", "/"))
            try:
                write_proc(context, path, value)
            except OSError as error:
                failed = StartFailed.from_error(self.stage, error, f"open /proc/{path}")
                failed.text = f"{INIT_PREFIX}{failed.text}"
                raise failed from error
