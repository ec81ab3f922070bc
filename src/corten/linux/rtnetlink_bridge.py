"""Ports and neighbours of a bridge over rtnetlink(7): requests only. Stdlib only; daemon only."""

from __future__ import annotations

import socket
import struct

from corten.linux.addresses import family_of, ip_bytes
from corten.linux.netlink import attr, attr_u8, message, nested

RTM_SETLINK = 19
RTM_DELNEIGH = 29
IFLA_PROTINFO = 12
IFLA_BRPORT_MODE = 4
IFLA_BRPORT_ISOLATED = 33
NDA_DST = 1

_IFINFO = struct.Struct("=BxHiII")
_NDMSG = struct.Struct("=BxxxiHBB")


def set_bridge_port_request(index: int, *, hairpin: bool | None = None, isolated: bool | None = None) -> bytes:
    """Set flags of a bridge port."""
    attrs = []
    if hairpin is not None:
        attrs.append(attr_u8(IFLA_BRPORT_MODE, int(hairpin)))
    if isolated is not None:
        attrs.append(attr_u8(IFLA_BRPORT_ISOLATED, int(isolated)))
    payload = _IFINFO.pack(socket.AF_BRIDGE, 0, index, 0, 0) + nested(IFLA_PROTINFO, *attrs)
    return message(RTM_SETLINK, 0, payload)


def delete_neighbour_request(index: int, address: str) -> bytes:
    """Forget what MAC `address` has behind link `index`."""
    raw = ip_bytes(address)
    return message(RTM_DELNEIGH, 0, _NDMSG.pack(family_of(raw), index, 0, 0, 0) + attr(NDA_DST, raw))
