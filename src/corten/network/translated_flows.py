"""Forgets UDP flows that are translated to addresses which serve no longer. Daemon only, blocking (a walk through the
table of flows).

What a client sends from one socket is one flow, and stays with the member that it was given first: one that has left
would get it until the client falls silent (`network.conntrack` has the same of published ports).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator

from corten.linux.netlink import NLM_F_DUMP, NetlinkSocket, attr, attr_u8, attr_u32, attributes, message, nested
from corten.network.ipam import IPAddress

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2
_NFGENMSG = 4
# include/uapi/linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _FILTER = 1, 2, 12, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_SOURCE_AND_DESTINATION: dict[int, tuple[int, int]] = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}
_PROTO_NUM = 1
_FILTER_ORIG_FLAGS = 1
_BY_PROTO_NUM = 1 << 3  # CTA_FILTER_F_*, since Linux 5.8; we look again ourselves
_GONE = frozenset({errno.ENOENT})


def forget_udp_flows_to(targets: Collection[IPAddress], netlink: NetlinkSocket) -> None:
    """Drop what is known of UDP flows that are translated to these addresses, in the socket's namespace: their clients'
    next datagrams go to others. Raises OSError."""
    for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
        wanted = {address.packed for address in targets if address.version == version}
        if wanted:
            deletions = list(_translated(netlink, family, wanted))
            netlink.batch(deletions, "forget UDP flows", ignore=[_GONE] * len(deletions))


def _translated(netlink: NetlinkSocket, family: int, targets: Collection[bytes]) -> Iterator[bytes]:
    """Requests that delete the flows whose answers come from `targets`, but were not sent to there."""
    head = struct.pack("!BBH", family, 0, 0)
    proto = nested(_TUPLE_ORIG, nested(_TUPLE_PROTO, attr_u8(_PROTO_NUM, socket.IPPROTO_UDP)))
    body = proto + nested(_FILTER, attr_u32(_FILTER_ORIG_FLAGS, _BY_PROTO_NUM))
    source, destination = _SOURCE_AND_DESTINATION[family]
    for flow in netlink.dump(message(_SUBSYSTEM << 8 | _GET, NLM_F_DUMP, head + body), "list UDP flows"):
        fields = attributes(flow.payload, _NFGENMSG)
        asked = attributes(fields.get(_TUPLE_ORIG, b""))
        answer = attributes(attributes(fields.get(_TUPLE_REPLY, b"")).get(_TUPLE_IP, b"")).get(source, b"")
        if attributes(asked.get(_TUPLE_PROTO, b"")).get(_PROTO_NUM) != bytes([socket.IPPROTO_UDP]):
            continue
        if answer in targets and attributes(asked.get(_TUPLE_IP, b"")).get(destination) != answer:
            which = nested(_TUPLE_ORIG, fields[_TUPLE_ORIG]) + attr(_ID, fields[_ID])
            yield message(_SUBSYSTEM << 8 | _DELETE, 0, head + which)
