"""VXLAN links and where they send what they do not know: rtnetlink(7). Stdlib only, blocking; daemon only.

A link sends frames for unknown and group addresses to every destination of its all-zeros forwarding entry, and learns
by itself behind which of them an address is. Source: include/uapi/linux/if_link.h and neighbour.h, RFC 7348.
"""

from __future__ import annotations

import socket
import struct

from corten.linux.addresses import family_of, ip_bytes
from corten.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NetlinkError,
    NetlinkSocket,
    attr,
    attr_text,
    attr_u8,
    attr_u32,
    attributes,
    message,
    nested,
)
from corten.linux.rtnetlink import (
    IFLA_GROUP,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    RTM_GETROUTE,
    RTM_NEWLINK,
)
from corten.linux.rtnetlink_bridge import NDA_DST, RTM_DELNEIGH

RTM_NEWNEIGH = 28
RTM_GETNEIGH = 30
NDA_LLADDR = 2
_NLM_F_APPEND = 0x800
_NTF_SELF = 2
_NUD_NOARP_PERMANENT = 0x40 | 0x80
_EVERYTHING = bytes(6)
_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 3, 4, 7, 15, 17
_RTA_DST, _RTA_OIF = 1, 4
_IFINFO = struct.Struct("=BxHiII")
_NDMSG = struct.Struct("=BxxxiHBB")
_RTMSG = struct.Struct("=BBBBBBBBI")


def create_vxlan_request(
    name: str, *, vni: int, port: int, local: str, parent: int, master: int, mtu: int, group: int = 0
) -> bytes:
    """A VXLAN link, down, as a port of bridge `master`. `local` is the source address; the unspecified one leaves it to
    the routes and tells the family. `parent` 0: by any link; `mtu` 0: the kernel's choice."""
    raw = ip_bytes(local)
    data = [
        attr_u32(_VXLAN_ID, vni),
        attr(_VXLAN_PORT, struct.pack("!H", port)),
        attr(_VXLAN_LOCAL if len(raw) == 4 else _VXLAN_LOCAL6, raw),
        attr_u8(_VXLAN_LEARNING, 1),
    ]
    if parent:
        data.append(attr_u32(_VXLAN_LINK, parent))
    info = attr_text(IFLA_INFO_KIND, "vxlan") + nested(IFLA_INFO_DATA, *data)
    attrs = [
        attr_text(IFLA_IFNAME, name),
        *([attr_u32(IFLA_MTU, mtu)] if mtu else []),
        attr_u32(IFLA_MASTER, master),
        attr_u32(IFLA_GROUP, group),
        nested(IFLA_LINKINFO, info),
    ]
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, _IFINFO.pack(0, 0, 0, 0, 0) + b"".join(attrs))


def add_destination_request(index: int, address: str) -> bytes:
    """Send what is for all, or for nobody known, to this address as well."""
    head = _NDMSG.pack(socket.AF_BRIDGE, index, _NUD_NOARP_PERMANENT, _NTF_SELF, 0)
    attrs = attr(NDA_LLADDR, _EVERYTHING) + attr(NDA_DST, ip_bytes(address))
    return message(RTM_NEWNEIGH, NLM_F_CREATE | _NLM_F_APPEND, head + attrs)


def delete_entry_request(index: int, lladdr: bytes, address: str) -> bytes:
    """Forget that `lladdr` is behind this address."""
    head = _NDMSG.pack(socket.AF_BRIDGE, index, 0, _NTF_SELF, 0)
    return message(RTM_DELNEIGH, 0, head + attr(NDA_LLADDR, lladdr) + attr(NDA_DST, ip_bytes(address)))


def list_entries(netlink: NetlinkSocket, index: int) -> list[tuple[bytes, str]]:
    """(link-layer address, destination) of all entries of a VXLAN link, learned ones and that for all."""
    request = message(RTM_GETNEIGH, NLM_F_DUMP, _NDMSG.pack(socket.AF_BRIDGE, 0, 0, 0, 0))
    found = []
    for reply in netlink.dump(request, "list the forwarding entries"):
        _family, of, _state, flags, _type = _NDMSG.unpack_from(reply.payload)
        attrs = attributes(reply.payload, _NDMSG.size)
        if of == index and flags & _NTF_SELF and NDA_DST in attrs:
            raw = attrs[NDA_DST]
            found.append((attrs.get(NDA_LLADDR, _EVERYTHING), socket.inet_ntop(family_of(raw), raw)))
    return found


def is_for_all(lladdr: bytes) -> bool:
    """Whether an entry is the one for unknown and group addresses."""
    return lladdr == _EVERYTHING


def route_link(netlink: NetlinkSocket, address: str) -> int:
    """The index of the link by which packets to an address leave; 0 without a route."""
    raw = ip_bytes(address)
    payload = _RTMSG.pack(family_of(raw), len(raw) * 8, 0, 0, 0, 0, 0, 0, 0) + attr(_RTA_DST, raw)
    try:
        (reply,) = netlink.dump(message(RTM_GETROUTE, 0, payload), f"find the route to {address}")
    except NetlinkError:
        return 0
    oif = attributes(reply.payload, _RTMSG.size).get(_RTA_OIF)
    return int.from_bytes(oif, "little") if oif else 0
