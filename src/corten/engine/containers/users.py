"""Which ids a container's process gets: `User` and `GroupAdd` against the image's passwd and group. Daemon.

The parser and `resolve_user` are pure. The files are the container's, hence untrusted: opened below the root by
openat2 RESOLVE_IN_ROOT, regular files only, bounded (CVE-2026-47262). A number is never looked up as a name
(CVE-2026-46680) and must fit 0..2^31-1 (CVE-2024-40635). What an image has is cached, so that a usual start mounts
nothing; a container whose own layer touched /etc is read anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corten.errors import InvalidArgument
from corten.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

_MAX_ID = 2**31 - 1
_MAX_FILE = 10 << 20
_MAX_LINE = 1 << 20
_CACHE_LIMIT = 256


@dataclass(frozen=True, slots=True)
class User:
    """An entry of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True)
class Group:
    """An entry of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Accounts:
    """The users and groups of a root file system."""

    users: tuple[User, ...] = ()
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process runs as. `groups` holds the primary one too (CVE-2022-36109)."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)


def _rows(data: bytes, fields: int) -> list[list[str]]:
    rows = []
    for line in data.split(b"\n"):
        if not line or line.startswith(b"#") or len(line) > _MAX_LINE:
            continue
        parts = line.decode("utf-8", "replace").strip().split(":")
        if len(parts) >= fields:
            rows.append(parts)
    return rows


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1


def parse_accounts(passwd: bytes, group: bytes) -> Accounts:
    """passwd(5) and group(5); broken lines are left out."""
    users = []
    for row in _rows(passwd, 4):
        uid, gid = _number(row[2]), _number(row[3])
        if uid >= 0 and gid >= 0:
            users.append(User(row[0], uid, gid, row[5] if len(row) > 5 else ""))
    groups = []
    for row in _rows(group, 3):
        gid = _number(row[2])
        if gid >= 0:
            members = tuple(name for name in row[3].split(",") if name) if len(row) > 3 else ()
            groups.append(Group(row[0], gid, members))
    return Accounts(tuple(users), tuple(groups))


def _id(text: str, what: str) -> int | None:
    """`text` as an id, None when it is a name. Raises InvalidArgument for a number that is no id."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    if digits is not text or len(digits) > 10 or int(digits) > _MAX_ID:
        raise InvalidArgument(f"unable to find {what} {text[:32]}: uids and gids must be in range 0-{_MAX_ID}")
    return int(digits)


def _group_id(text: str, accounts: Accounts, missing: str) -> int:
    number = _id(text, "group")
    if number is not None:
        return number
    for group in accounts.groups:
        if group.name == text:
            return group.gid
    raise InvalidArgument(missing)


def resolve_user(spec: str, group_add: Sequence[str], accounts: Accounts) -> Identity:
    """`user[:group]`, names or numbers, as ids. Raises InvalidArgument with Docker's texts."""
    wanted, _colon, group = spec.partition(":")
    number = _id(wanted, "user") if wanted else 0
    if number is not None:
        user = next((entry for entry in accounts.users if entry.uid == number), None)
    else:
        user = next((entry for entry in accounts.users if entry.name == wanted), None)
        if user is None:
            raise InvalidArgument(f"unable to find user {wanted[:64]}: no matching entries in passwd file")
    uid = user.uid if user is not None else number or 0
    gid = user.gid if user is not None else 0
    if not 0 <= uid <= _MAX_ID or not 0 <= gid <= _MAX_ID:
        raise InvalidArgument(f"unable to find user {wanted[:64]}: uids and gids must be in range 0-{_MAX_ID}")
    extra: list[int] = []
    if group:
        missing = f"unable to find group {group[:64]}: no matching entries in group file"
        gid = _group_id(group, accounts, missing)
    elif user is not None:
        extra = [entry.gid for entry in accounts.groups if user.name in entry.members]
    for name in group_add:
        extra.append(_group_id(name, accounts, f"Unable to find group {name[:64]}"))
    return Identity(uid, gid, tuple(dict.fromkeys([gid, *extra])))


def read_accounts(root_fd: int) -> Accounts:
    """The accounts below a root directory. Blocking; a missing file is an empty one."""
    return parse_accounts(_read(root_fd, "etc/passwd"), _read(root_fd, "etc/group"))


def _read(root_fd: int, path: str) -> bytes:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = openat2(root_fd, path, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError:
        return b""
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        with open(fd, "rb", closefd=False) as file:
            return file.read(_MAX_FILE)
    finally:
        os.close(fd)


class AccountFiles:
    """Accounts of containers, cached by image."""

    def __init__(self, open_root: Callable[[str], int]) -> None:
        self._open_root = open_root
        self._cache: dict[str, Accounts] = {}

    def cached(self, image_id: str, rootfs: Mapping[str, Any]) -> Accounts | None:
        """The image's accounts, if they are known and the container's own layer does not hide them."""
        return None if touches_etc(rootfs) else self._cache.get(image_id)

    def read(self, cid: str, image_id: str, rootfs: Mapping[str, Any]) -> Accounts:
        """Mount, read, remember. Blocking: about a millisecond."""
        fd = self._open_root(cid)
        try:
            accounts = read_accounts(fd)
        finally:
            os.close(fd)
        if not touches_etc(rootfs):
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            self._cache[image_id] = accounts
        return accounts


def touches_etc(rootfs: Mapping[str, Any]) -> bool:
    """Whether the writable layer has an /etc of its own (a whiteout counts)."""
    upper = rootfs.get("upper")
    return upper is None or os.path.lexists(os.path.join(rootfs["dir"], upper, "etc"))
