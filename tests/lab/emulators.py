"""QEMU's emulator of another architecture, from Debian's package, unpacked and not installed, and its registration with
binfmt_misc for the length of a test.

What the kernel knows there is the whole machine's: the entry has a name of its own, is made only where nobody has one
for the architecture, and is removed afterwards (where nobody else has binfmt_misc mounted the kernel forgets it with the
mount). Tests that need programs for the architecture not to run stand in the same file: they run one after the other.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from corten.engine.platforms import emulator_of, header_of
from corten.linux.binfmt import Handler, handlers
from corten.linux.mount import new_filesystem
from tests.lab.cache import cached, run

_QEMU = {"arm64": "aarch64", "amd64": "x86_64"}
_PREFIX = "corten-test-"
_MASK = b"\xff" * 7 + b"\x00" + b"\xff" * 8 + b"\xfe\xff\xff\xff"  # any ABI; position-independent programs, too
_PACKAGES = ("qemu-user-static", "qemu-user")  # since Debian 13 the second has the static programs


def emulator(architecture: str) -> Path:
    """The static program that runs those for an architecture."""
    name = _QEMU[architecture]

    def build(path: Path) -> None:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="qemu-") as folder:
            for package in _PACKAGES:
                run("apt-get", "download", "-qq", package, cwd=folder)
                (file,) = Path(folder).glob(f"{package}_*.deb")
                run("dpkg", "-x", str(file), f"{folder}/unpacked")
                for found in (f"qemu-{name}-static", f"qemu-{name}"):
                    program = Path(folder, "unpacked/usr/bin", found)
                    if program.is_file() and not program.is_symlink():
                        shutil.copy(program, path)
                        return
        raise AssertionError(f"no package has QEMU for {name}: {_PACKAGES}")

    return cached(f"qemu-{name}", "static 1", build)


@contextlib.contextmanager
def registered(architecture: str, flags: str) -> Iterator[None]:
    """Programs for an architecture run through QEMU during the block. `flags` are binfmt_misc's."""
    program = emulator(architecture)
    mounted = new_filesystem("binfmt_misc", [])
    try:
        _remove(mounted, [handler for handler in handlers() if _is_stale(handler.name)])
        there = emulator_of(architecture, handlers())
        assert there is None, f"{there and there.name} is registered on this machine already"  # not ours to replace
        name = f"{_PREFIX}{os.getpid()}"
        magic = header_of(architecture)[: len(_MASK)]
        fields = [name, "M", "0", _escaped(magic), _escaped(_MASK), str(program), flags]
        try:
            _write(mounted, "register", ":" + ":".join(fields))
            yield
        finally:
            _remove(mounted, [handler for handler in handlers() if handler.name == name])
    finally:
        os.close(mounted)


def _is_stale(name: str) -> bool:
    pid = name.removeprefix(_PREFIX)
    return name.startswith(_PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists()


def _remove(mounted: int, found: list[Handler]) -> None:
    for handler in found:
        _write(mounted, handler.name, "-1")


def _write(mounted: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=mounted)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)
