"""Links that stand on a parent link, and links in other network namespaces, over rtnetlink(7). Stdlib only, blocking.

macvlan, ipvlan and VLAN interfaces have a lower device; a dummy is one that leads nowhere. A link that was made in a
container's namespace is found again by the namespace's id (NSID): a number that the kernel keeps in our own namespace
for as long as the other lives, so nobody has to enter it and no process id has to be trusted. Daemon only.
"""

from __future__ import annotations

import errno
import struct

from corten.linux.addresses import mac_bytes
from corten.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NetlinkError,
    NetlinkSocket,
    attr,
    attr_text,
    attr_u16,
    attr_u32,
    attributes,
    message,
    nested,
)
from corten.linux.rtnetlink import (
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_GROUP,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MTU,
    IFLA_NET_NS_PID,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    Link,
)

IFLA_LINK = 5
IFLA_TARGET_NETNSID = 46
IFLA_MACVLAN_MODE = 1
IFLA_IPVLAN_MODE = 1
IFLA_IPVLAN_FLAGS = 2
IFLA_VLAN_ID = 1
RTM_NEWNSID = 88
RTM_GETNSID = 90
NETNSA_NSID = 1
NETNSA_PID = 2

# linux/if_link.h
MACVLAN_MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8}
IPVLAN_MODES = {"l2": 0, "l3": 1, "l3s": 2}
IPVLAN_FLAGS = {"bridge": 0, "private": 1, "vepa": 2}

_NSID_NONE = -1
_NAME_BYTES = 16  # IFNAMSIZ
_IFINFO = struct.Struct("=BxHiII")
_RTGEN = b"\0\0\0\0"  # struct rtgenmsg, padded


def _new(
    name: str, kind: str, *data: bytes, parent: int = 0, mtu: int = 0, mac: str = "", pid: int = 0, group: int = 0
) -> bytes:
    """A link; it is up, unless it goes to another namespace."""
    attrs = [attr_text(IFLA_IFNAME, name)]
    if parent:
        attrs.append(attr_u32(IFLA_LINK, parent))
    if mtu:
        attrs.append(attr_u32(IFLA_MTU, mtu))
    if mac:
        attrs.append(attr(IFLA_ADDRESS, mac_bytes(mac)))
    if pid:
        attrs.append(attr_u32(IFLA_NET_NS_PID, pid))
    if group:
        attrs.append(attr_u32(IFLA_GROUP, group))
    info = [attr_text(IFLA_INFO_KIND, kind), *([nested(IFLA_INFO_DATA, *data)] if data else [])]
    attrs.append(nested(IFLA_LINKINFO, *info))
    state = 0 if pid else IFF_UP
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _IFINFO.pack(0, 0, 0, state, state) + b"".join(attrs))


def create_dummy_request(name: str, *, mtu: int, group: int = 0) -> bytes:
    """A dummy that is up: a parent that leads nowhere."""
    return _new(name, "dummy", mtu=mtu, group=group)


def create_vlan_request(name: str, *, parent: int, vlan: int, group: int = 0) -> bytes:
    """The 802.1Q sub-interface of link `parent` with this VLAN id (1 to 4094), up."""
    return _new(name, "vlan", attr_u16(IFLA_VLAN_ID, vlan), parent=parent, group=group)


def has_upper_kind(netlink: NetlinkSocket, kind: str) -> bool:
    """Whether the kernel has interfaces of a kind that stand on a parent; it may load their module to say so.

    One without a parent is asked for: EINVAL says that the kind is known, EOPNOTSUPP that it is not.
    """
    try:
        netlink.batch([_new("corten-probe", kind)], f"look for interfaces of kind {kind}")
    except NetlinkError as error:
        return error.errno != errno.EOPNOTSUPP
    return True


def create_macvlan_request(
    name: str, *, parent: int, mode: str, mtu: int, mac: str, netns_pid: int, group: int
) -> bytes:
    """A macvlan on link `parent`, down, in the network namespace of a process. `mode` is of MACVLAN_MODES."""
    data = attr_u32(IFLA_MACVLAN_MODE, MACVLAN_MODES[mode])
    return _new(name, "macvlan", data, parent=parent, mtu=mtu, mac=mac, pid=netns_pid, group=group)


def create_ipvlan_request(
    name: str, *, parent: int, mode: str, flag: str, mtu: int, netns_pid: int, group: int
) -> bytes:
    """An ipvlan on link `parent`, down, in the network namespace of a process."""
    data = attr_u16(IFLA_IPVLAN_MODE, IPVLAN_MODES[mode]) + attr_u16(IFLA_IPVLAN_FLAGS, IPVLAN_FLAGS[flag])
    return _new(name, "ipvlan", data, parent=parent, mtu=mtu, pid=netns_pid, group=group)


def namespace_id(netlink: NetlinkSocket, pid: int) -> int:
    """The id that our network namespace has for that of a process; one is assigned at the first call.

    Raises NetlinkError (ESRCH: no such process).
    """
    what = f"find the network namespace of process {pid}"
    target = attr_u32(NETNSA_PID, pid)
    found = _nsid(netlink, target, what)
    if found == _NSID_NONE:
        any_free = attr(NETNSA_NSID, struct.pack("=i", _NSID_NONE))
        netlink.batch([message(RTM_NEWNSID, 0, _RTGEN + target + any_free)], what)
        found = _nsid(netlink, target, what)
    return found


def _nsid(netlink: NetlinkSocket, target: bytes, what: str) -> int:
    (reply,) = netlink.dump(message(RTM_GETNSID, 0, _RTGEN + target), what)
    raw = attributes(reply.payload, len(_RTGEN)).get(NETNSA_NSID)
    return int(struct.unpack("=i", raw)[0]) if raw else _NSID_NONE


def find_link(netlink: NetlinkSocket, name: str) -> Link | None:
    """A link of the socket's own namespace by its name, not by another name of it; None when there is none."""
    if not 0 < len(name.encode()) < _NAME_BYTES:
        return None
    request = message(RTM_GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + attr_text(IFLA_IFNAME, name))
    try:
        (reply,) = netlink.dump(request, f"find the interface {name}")
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    _af, _kind, index, flags, _change = _IFINFO.unpack_from(reply.payload)
    link = Link(index, flags, attributes(reply.payload, _IFINFO.size))
    return link if link.name == name else None


def find_link_in(netlink: NetlinkSocket, nsid: int, name: str) -> Link | None:
    """A link by name in the namespace with this id; None when either is gone."""
    target = attr(IFLA_TARGET_NETNSID, struct.pack("=i", nsid)) + attr_text(IFLA_IFNAME, name)
    request = message(RTM_GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + target)
    try:
        (reply,) = netlink.dump(request, f"find the interface {name}")
    except NetlinkError:  # EINVAL: no such namespace any more; ENODEV: no such link
        return None
    _af, _kind, index, flags, _change = _IFINFO.unpack_from(reply.payload)
    return Link(index, flags, attributes(reply.payload, _IFINFO.size))


def delete_link_in_request(nsid: int, index: int) -> bytes:
    """Delete a link of the namespace with this id."""
    target = attr(IFLA_TARGET_NETNSID, struct.pack("=i", nsid))
    return message(RTM_DELLINK, 0, _IFINFO.pack(0, 0, index, 0, 0) + target)
