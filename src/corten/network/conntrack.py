"""Forgets flows that the kernel tracks to a host port. Daemon only, blocking (a walk through the table of flows).

The NAT rules see the first packet of a flow alone. A UDP client that keeps its socket is one flow for as long as it
sends: one that sent before the port was published would never be translated, and one that was translated goes on to the
address of a container that is gone. TCP needs nothing of this: a connection ends by itself, and the next is a new flow.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator

from corten.linux.netlink import (
    NETLINK_NETFILTER,
    NLM_F_DUMP,
    NetlinkSocket,
    attr,
    attr_u8,
    attr_u32,
    attributes,
    message,
    nested,
)
from corten.network.ipam import IPAddress

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2
_NFGENMSG = 4
# include/uapi/linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _TUPLE_REPLY, _ID, _FILTER = 1, 2, 12, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_V4_SRC, _V4_DST, _V6_SRC, _V6_DST = 1, 2, 3, 4
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_FILTER_ORIG_FLAGS = 1
_BY_PROTO_NUM, _BY_PROTO_DST_PORT = 1 << 3, 1 << 5  # CTA_FILTER_F_*, since Linux 5.8; we look again ourselves
_FILTERED_PORTS = 4  # so many walks through the table at most; for more ports one walk that tells all UDP flows
_GONE = frozenset({errno.ENOENT})


def forget_udp_flows(ports: Collection[int], netlink: NetlinkSocket | None = None) -> None:
    """Drop what is known of UDP flows to these ports, in both families: of the host, or of the namespace that the
    socket is of. Raises OSError."""
    if not ports:
        return
    if netlink is None:
        with NetlinkSocket(NETLINK_NETFILTER) as own:
            forget_udp_flows(ports, own)
        return
    for family in (socket.AF_INET, socket.AF_INET6):
        wanted = sorted(ports) if len(ports) <= _FILTERED_PORTS else [0]
        deletions = [deletion for port in wanted for deletion in _deletions(netlink, family, port, ports)]
        netlink.batch(deletions, "forget UDP flows", ignore=[_GONE] * len(deletions))


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
    source, destination = (_V4_SRC, _V4_DST) if family == socket.AF_INET else (_V6_SRC, _V6_DST)
    for flow in netlink.dump(message(_SUBSYSTEM << 8 | _GET, NLM_F_DUMP, head + body), "list UDP flows"):
        fields = attributes(flow.payload, _NFGENMSG)
        asked = attributes(fields.get(_TUPLE_ORIG, b""))
        answer = attributes(attributes(fields.get(_TUPLE_REPLY, b"")).get(_TUPLE_IP, b"")).get(source, b"")
        if attributes(asked.get(_TUPLE_PROTO, b"")).get(_PROTO_NUM) != bytes([socket.IPPROTO_UDP]):
            continue
        if answer in targets and attributes(asked.get(_TUPLE_IP, b"")).get(destination) != answer:
            which = nested(_TUPLE_ORIG, fields[_TUPLE_ORIG]) + attr(_ID, fields[_ID])
            yield message(_SUBSYSTEM << 8 | _DELETE, 0, head + which)


def _deletions(netlink: NetlinkSocket, family: int, port: int, ports: Collection[int]) -> Iterator[bytes]:
    """Requests that delete the flows to `ports`, asking for those to `port` alone unless it is 0."""
    proto = [attr_u8(_PROTO_NUM, socket.IPPROTO_UDP)]
    flags = _BY_PROTO_NUM
    if port:
        proto.append(attr(_PROTO_DST_PORT, struct.pack("!H", port)))
        flags |= _BY_PROTO_DST_PORT
    head = struct.pack("!BBH", family, 0, 0)
    body = nested(_TUPLE_ORIG, nested(_TUPLE_PROTO, *proto)) + nested(_FILTER, attr_u32(_FILTER_ORIG_FLAGS, flags))
    for flow in netlink.dump(message(_SUBSYSTEM << 8 | _GET, NLM_F_DUMP, head + body), "list UDP flows"):
        fields = attributes(flow.payload, _NFGENMSG)
        told = attributes(attributes(fields.get(_TUPLE_ORIG, b"")).get(_TUPLE_PROTO, b""))
        if told.get(_PROTO_NUM) != bytes([socket.IPPROTO_UDP]):
            continue
        if int.from_bytes(told.get(_PROTO_DST_PORT, b""), "big") in ports:
            which = nested(_TUPLE_ORIG, fields[_TUPLE_ORIG]) + attr(_ID, fields[_ID])
            yield message(_SUBSYSTEM << 8 | _DELETE, 0, head + which)
