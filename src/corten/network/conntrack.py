"""Forgets flows that the kernel tracks to a host port. Daemon only, blocking (a walk through the table of flows).

The NAT rules see the first packet of a flow alone. A UDP client that keeps its socket is one flow for as long as it
sends: one that sent before the port was published would never be translated, and one that was translated goes on to the
address of a container that is gone. TCP needs nothing of this: a connection ends by itself, and the next is a new flow.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext

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
from corten.linux.rtnetlink import list_addresses
from corten.network.ipam import IPAddress

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2
_NFGENMSG = 4
# include/uapi/linux/netfilter/nfnetlink_conntrack.h
_TUPLE_ORIG, _ID, _FILTER = 1, 12, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_DST: dict[int, int] = {socket.AF_INET: 2, socket.AF_INET6: 4}  # CTA_IP_V4_DST, CTA_IP_V6_DST
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_FILTER_ORIG_FLAGS = 1
_BY_PROTO_NUM, _BY_PROTO_DST_PORT = 1 << 3, 1 << 5  # CTA_FILTER_F_*, since Linux 5.8; we look again ourselves
_FILTERED_PORTS = 4  # so many walks through the table at most; for more ports one walk that tells all UDP flows
_GONE = frozenset({errno.ENOENT})


def forget_udp_flows(targets: Collection[tuple[IPAddress, int]], inside: NetlinkSocket | None = None) -> None:
    """Drop what is known of UDP flows to these addresses and ports of the host; an unspecified address stands for all
    that the host has in its family. Flows to the same port elsewhere stay. With a socket of another namespace: of
    flows there. Raises OSError."""
    local = _local_addresses() if any(address.is_unspecified for address, _port in targets) else frozenset()
    for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        wanted: dict[int, set[IPAddress]] = {}
        for address, port in targets:
            if address.version == version:
                wanted.setdefault(port, set()).add(address)
        if not wanted:
            continue
        with nullcontext(inside) if inside is not None else NetlinkSocket(NETLINK_NETFILTER) as netlink:
            asked = sorted(wanted) if len(wanted) <= _FILTERED_PORTS else [0]
            deletions = [each for port in asked for each in _deletions(netlink, family, port, wanted, local)]
            netlink.batch(deletions, "forget UDP flows", ignore=[_GONE] * len(deletions))


def _local_addresses() -> frozenset[IPAddress]:
    with NetlinkSocket() as netlink:
        return frozenset(ipaddress.ip_interface(text).ip for _index, text in list_addresses(netlink))


def is_wanted(address: IPAddress, asked: Collection[IPAddress], local: Collection[IPAddress]) -> bool:
    """Whether a flow to `address` is one to those `asked` for. All of 127.0.0.0/8 is the host. Pure."""
    if address in asked:
        return True
    return any(each.is_unspecified for each in asked) and (address in local or address.is_loopback)


def _deletions(
    netlink: NetlinkSocket,
    family: int,
    port: int,
    wanted: Mapping[int, Collection[IPAddress]],
    local: Collection[IPAddress],
) -> Iterator[bytes]:
    """Requests that delete the flows to `wanted` (by port), asking for those to `port` alone unless it is 0."""
    proto = [attr_u8(_PROTO_NUM, socket.IPPROTO_UDP)]
    flags = _BY_PROTO_NUM
    if port:
        proto.append(attr(_PROTO_DST_PORT, struct.pack("!H", port)))
        flags |= _BY_PROTO_DST_PORT
    head = struct.pack("!BBH", family, 0, 0)
    body = nested(_TUPLE_ORIG, nested(_TUPLE_PROTO, *proto)) + nested(_FILTER, attr_u32(_FILTER_ORIG_FLAGS, flags))
    for flow in netlink.dump(message(_SUBSYSTEM << 8 | _GET, NLM_F_DUMP, head + body), "list UDP flows"):
        fields = attributes(flow.payload, _NFGENMSG)
        told = attributes(fields.get(_TUPLE_ORIG, b""))
        proto_told = attributes(told.get(_TUPLE_PROTO, b""))
        raw = attributes(told.get(_TUPLE_IP, b"")).get(_IP_DST[family], b"")
        if proto_told.get(_PROTO_NUM) != bytes([socket.IPPROTO_UDP]) or not raw:
            continue
        asked = wanted.get(int.from_bytes(proto_told.get(_PROTO_DST_PORT, b""), "big"), ())
        if is_wanted(ipaddress.ip_address(raw), asked, local):
            which = nested(_TUPLE_ORIG, fields[_TUPLE_ORIG]) + attr(_ID, fields[_ID])
            yield message(_SUBSYSTEM << 8 | _DELETE, 0, head + which)
