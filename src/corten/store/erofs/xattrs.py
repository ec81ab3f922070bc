"""Which extended attributes of an entry an inode gets, as setxattr(2) would decide. Pure.

Of a directory the kernel decides; an image is believed by it, so the same is decided here: what Linux would refuse is
left out, and an access ACL sets the permissions that it stands for (acl(5), fs/posix_acl.c, security/commoncap.c).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from corten.lib.tar import InvalidTar
from corten.store.erofs.layout import XATTR_ACL, XATTRS_MAX, xattr_body, xattr_index

_NAME_MAX = 255
_VALUE_MAX = (1 << 16) - 1  # what e_value_size holds; XATTR_SIZE_MAX is one more
_ACL_ACCESS, _ACL_DEFAULT = XATTR_ACL
_CAPABILITY = b"security.capability"
_CAPABILITY_SIZES = {2: 20, 3: 24}  # by the revision in the upper byte of the first word
_ACL_VERSION = 2
_ACL_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_ACL_ORDER = (_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER)
_ACL_MAX_ENTRIES = 1024

OPAQUE = (b"trusted.overlay.opaque", b"y")


def encoded_xattrs(attributes: Mapping[bytes, bytes], kind: str) -> tuple[bytes, int | None]:
    """(inline attributes, permission bits if an ACL sets them) of a file of `kind`. Raises InvalidTar.

    `kind` is an Entry's: attributes of users are for files and directories only (xattr(7)).
    """
    kept: list[tuple[int, bytes, bytes]] = []
    permissions: int | None = None
    for name, value in attributes.items():
        found = xattr_index(name)
        if found is None or not _allowed(name, value, kind):
            continue
        if len(name) > _NAME_MAX or len(value) > _VALUE_MAX:
            raise InvalidTar(f"an extended attribute of {len(name)} + {len(value)} bytes is too large")
        if name in XATTR_ACL:
            acl = _acl(value)
            if acl is None:
                continue
            if name == _ACL_ACCESS:
                permissions, minimal = acl
                if minimal:
                    continue  # it says no more than the mode
        kept.append((*found, value))
    body = xattr_body(kept) if kept else b""
    if len(body) > XATTRS_MAX:
        raise InvalidTar(f"extended attributes of {len(body)} bytes are too large")
    return body, permissions


def is_acl(value: bytes) -> bool:
    """Whether Linux takes it for an access control list."""
    return _acl(value) is not None


def _allowed(name: bytes, value: bytes, kind: str) -> bool:
    if name.startswith(b"user."):
        return kind in ("file", "directory")
    if name == _ACL_DEFAULT:
        return kind == "directory"
    if name == _ACL_ACCESS:
        return kind != "symlink"
    if name == _CAPABILITY:
        return len(value) >= 4 and _CAPABILITY_SIZES.get(value[3]) == len(value)
    return True


def _acl(value: bytes) -> tuple[int, bool] | None:
    """(permission bits, whether they say it all) of a valid ACL, None of another."""
    size = len(value) - 4
    if size <= 0 or size % 8 or size // 8 > _ACL_MAX_ENTRIES or value[:4] != _ACL_VERSION.to_bytes(4, "little"):
        return None
    entries = list(_ACL_ENTRY.iter_unpack(value[4:]))
    order = [_ACL_ORDER.index(tag) if tag in _ACL_ORDER else -1 for tag, _permissions, _id in entries]
    if -1 in order or order != sorted(order) or any(bits & ~7 for _tag, bits, _id in entries):
        return None
    found = {tag: bits for tag, bits, _id in entries}
    named = _USER in found or _GROUP in found
    single = [tag for tag, _bits, _id in entries if tag not in (_USER, _GROUP)]
    if len(set(single)) != len(single) or not {_USER_OBJ, _GROUP_OBJ, _OTHER} <= set(single):
        return None
    if named and _MASK not in found:
        return None
    group = found.get(_MASK, found[_GROUP_OBJ])
    return found[_USER_OBJ] << 6 | group << 3 | found[_OTHER], not named and _MASK not in found
