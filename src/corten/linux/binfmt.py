"""What the kernel runs through interpreters, as binfmt_misc tells. Blocking.

It is read where it is mounted, else through a mount of its own that is nowhere: the kernel has the handlers either way.
Source: the kernel's Documentation/admin-guide/binfmt-misc.rst.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = "/proc/sys/fs/binfmt_misc"
_CONTROLS = ("register", "status")
_ENTRY_LIMIT = 64 << 10
_ALL_IDS = ["0", "0", "4294967295"]  # of the first user namespace; user_namespaces(7)


class Handler:
    """One that is enabled: its name, its interpreter, and its flags (F: the interpreter is open since the
    registration, so that containers without it use it, too)."""

    __slots__ = ("flags", "interpreter", "magic", "mask", "name", "offset")

    def __init__(
        self, name: str, interpreter: str, flags: str, *, offset: int = 0, magic: bytes = b"", mask: bytes = b""
    ) -> None:
        self.name = name
        self.interpreter = interpreter
        self.flags = flags
        self.offset = offset
        self.magic = magic
        self.mask = mask

    def takes(self, header: bytes) -> bool:
        """Whether a file that begins so is run through it. One that goes by the file's name takes none. Pure."""
        part = header[self.offset : self.offset + len(self.magic)]
        if not self.magic or len(part) < len(self.magic):
            return False
        mask = self.mask or b"\xff" * len(self.magic)
        return all(not (a ^ b) & bits for a, b, bits in zip(part, self.magic, mask, strict=True))


def handlers(root: str = _ROOT) -> list[Handler]:
    """All; none where the kernel has none. Blocking."""
    if root != _ROOT or _is_mounted():
        return _read(root)
    fd = _detached()
    if fd < 0:
        return []
    try:
        return _read(fd)
    finally:
        os.close(fd)


def _is_mounted() -> bool:
    """Whether it is where it is expected; looking below an automount mounts it."""
    return os.path.exists(f"{_ROOT}/status")


def _detached() -> int:
    """A mount that is attached nowhere, or -1. In a user namespace of its own there is none: it would be a new, empty
    instance, which hides the host's handlers from then on (binfmt_misc since Linux 6.7). A kernel that has it as a
    module which is not loaded has no handlers, and the module stays where it is."""
    from corten.linux.mount import new_filesystem

    mounted = -1
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            is_first = file.read().split() == _ALL_IDS
        with open("/proc/filesystems", encoding="ascii") as file:
            is_known = "binfmt_misc" in file.read().split()
        if not (is_first and is_known):
            return -1
        mounted = new_filesystem("binfmt_misc", [])
        return os.open(
            ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mounted
        )  # that of fsmount(2) reads none
    except OSError:
        return -1
    finally:
        if mounted >= 0:
            os.close(mounted)


def _read(root: str | int) -> list[Handler]:
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    found = []
    for name in names:
        if name in _CONTROLS:
            continue
        try:
            handler = parse_handler(name, _text(root, name))
        except (OSError, ValueError):
            continue
        if handler is not None:
            found.append(handler)
    return found


def _text(root: str | int, name: str) -> str:
    path = name if isinstance(root, int) else os.path.join(root, name)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root if isinstance(root, int) else None)
    with open(fd, encoding="utf-8", errors="replace") as file:
        return file.read(_ENTRY_LIMIT)


def parse_handler(name: str, text: str) -> Handler | None:
    """What an entry says; None for one that is disabled. Raises ValueError for numbers that are none. Pure."""
    lines = text.splitlines()
    if "enabled" not in lines[:1]:
        return None
    said: Mapping[str, str] = dict(line.partition(" ")[::2] for line in lines)
    return Handler(
        name,
        said.get("interpreter", ""),
        said.get("flags:", ""),
        offset=int(said.get("offset", "0")),
        magic=bytes.fromhex(said.get("magic", "")),
        mask=bytes.fromhex(said.get("mask", "")),
    )
