"""Links on the host that are an instance's own: made with its mark in one request, and known by it. Daemon only.

The mark is the group number (IFLA_GROUP), which the kernel sets as it makes the link: a daemon that is killed at any
moment leaves no link that the next one does not know. The alias, which can only be set later, is for who looks at
`ip link`; links of a daemon before group numbers are known by it.
"""

from __future__ import annotations

import errno
import hashlib

from corten.errors import Unavailable
from corten.lib import faultpoint
from corten.linux import rtnetlink_upper
from corten.linux.netlink import NetlinkError, NetlinkSocket
from corten.linux.rtnetlink import Link


def owner_group(owner: str) -> int:
    """The group number of the links of instance `owner`: 31 bits, away from the small ones that people choose."""
    return 1 << 30 | int.from_bytes(hashlib.sha256(owner.encode()).digest()[:4], "big") >> 2


def is_own(link: Link, owner: str) -> bool:
    """Whether this instance made the link as a network's."""
    return link.group == owner_group(owner) or link.alias == owner


def make_link(netlink: NetlinkSocket, request: bytes, *, kind: str, what: str) -> None:
    """Make a link of the host's. Raises Unavailable (this kernel has none of its kind), NetlinkError."""
    try:
        netlink.batch([request], what)
    except NetlinkError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise _missing(kind, what) from error
        raise
    faultpoint.reach("network.linked")


def require_upper_kind(netlink: NetlinkSocket, kind: str, *, what: str) -> None:
    """Whether the kernel has interfaces of a kind that stand on a parent. Raises Unavailable."""
    if not rtnetlink_upper.has_upper_kind(netlink, kind):
        raise _missing(kind, what)


def _missing(kind: str, what: str) -> Unavailable:
    return Unavailable(
        f"cannot {what}: this kernel has no network interfaces of kind {kind}",
        hint=f"load its module (modprobe {kind}) or use a kernel that has it",
    )
