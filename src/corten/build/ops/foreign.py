"""Why a command could not be executed that is for another machine: told after it has failed. Daemon; blocking reads.

Which programs are for which machine, and what emulators take, is in engine/platforms.py.
"""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Sequence

from corten.build.operations import Run
from corten.build.trees.tree import Tree, resolve
from corten.engine.platforms import emulator_of
from corten.linux.binfmt import Handler
from corten.spec.platform import Platform

_HEADER = 20
_QEMU = {"386": "i386", "amd64": "x86_64", "arm64": "aarch64", "loong64": "loongarch64", "mips64le": "mips64el"}
_OWN = {"amd64": ("amd64", "386"), "arm64": ("arm64", "arm")}  # a processor that runs no 32-bit programs is found, too
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def program_of(tree: Tree, run: Run) -> bytes:
    """The first bytes of a command's program; empty when it is not found."""
    name = run.args[0] if run.args else ""
    variables = dict(entry.partition("=")[::2] for entry in run.env)
    folders = [""] if "/" in name else (variables.get("PATH") or _DEFAULT_PATH).split(":")
    for folder in folders:
        path = posixpath.join(run.working_dir, folder, name)
        try:
            real = resolve(tree, path)
            node = tree.lstat(real)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        if node is not None and node.kind == "file":
            return next(iter(tree.chunks(real)), b"")[:_HEADER]
    return b""


def explanation(architecture: str, host: Platform, handlers: Sequence[Handler]) -> str:
    """Why a program for `architecture` does not run here; empty when that is not why. Pure."""
    if not architecture or architecture in _OWN.get(host.architecture, (host.architecture,)):
        return ""
    qemu = f"qemu-{_QEMU.get(architecture, architecture)}"
    registered = emulator_of(architecture, handlers)
    if registered is None:
        reason = f"no emulator is registered with binfmt_misc (as {qemu}, with the flag F)"
    elif "F" not in registered.flags:
        reason = f"the emulator that binfmt_misc has as {registered.name} is not registered with the flag F"
    else:
        return ""
    return f"exec format error: this machine runs no programs for linux/{architecture}: {reason}"
