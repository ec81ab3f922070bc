"""Links, addresses and routes over rtnetlink(7). Stdlib only, blocking.

`bring_up_loopback` and `configure_interfaces` run in the container's own network namespace, in init, on the path of
every start: one socket, one batch. All else runs in the daemon against the host's namespace, on a socket that is kept.
Functions that begin with a verb and end in `_request` only build bytes, so that callers batch them.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

from corten.linux.addresses import family_of, ip_bytes, mac_bytes
from corten.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
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

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22
RTM_NEWROUTE = 24
RTM_GETROUTE = 26

IFF_UP = 0x1

IFLA_ADDRESS = 1
IFLA_IFNAME = 3
IFLA_MTU = 4
IFLA_MASTER = 10
IFLA_LINKINFO = 18
IFLA_NET_NS_PID = 19
IFLA_IFALIAS = 20
IFLA_GROUP = 27
IFLA_NET_NS_FD = 28
IFLA_NUM_TX_QUEUES = 31
IFLA_NUM_RX_QUEUES = 32
IFLA_INFO_KIND = 1
IFLA_INFO_DATA = 2
IFLA_AF_SPEC = 26
IFLA_INET6_ADDR_GEN_MODE = 8
IN6_ADDR_GEN_MODE_NONE = 1
VETH_INFO_PEER = 1

IFA_ADDRESS = 1
IFA_LOCAL = 2
IFA_BROADCAST = 4
IFA_FLAGS = 8
IFA_F_NODAD = 0x02

RTA_DST = 1
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_PRIORITY = 6
RT_TABLE_MAIN = 254
RTPROT_BOOT = 3
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RTN_UNICAST = 1

_BUSY_S = 2.0
_LOOPBACK_INDEX = 1  # the loopback device is the first of every network namespace (net/core: loopback_net_init)
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")


class Link:
    """What a dump says of one link."""

    __slots__ = ("address", "alias", "flags", "group", "index", "kind", "master", "mtu", "name")

    def __init__(self, index: int, flags: int, found: Mapping[int, bytes]) -> None:
        info = attributes(found.get(IFLA_LINKINFO, b""))
        self.index = index
        self.flags = flags
        self.name = _text(found.get(IFLA_IFNAME, b""))
        self.alias = _text(found.get(IFLA_IFALIAS, b""))
        self.kind = _text(info.get(IFLA_INFO_KIND, b""))
        self.master = _number(found.get(IFLA_MASTER))
        self.mtu = _number(found.get(IFLA_MTU))
        self.group = _number(found.get(IFLA_GROUP))
        self.address = found.get(IFLA_ADDRESS, b"").hex(":")


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode("utf-8", "replace")


def _number(data: bytes | None) -> int:
    return int.from_bytes(data, "little") if data else 0


def _link(kind: int, flags: int, index: int, state: int, change: int, *attrs: bytes) -> bytes:
    return message(kind, flags, _IFINFO.pack(0, 0, index, state, change) + b"".join(attrs))


def create_bridge_request(name: str, *, mtu: int, mac: str, group: int = 0) -> bytes:
    """A bridge that is up. Its MAC is set so that it does not change with its ports."""
    attrs = [
        attr_text(IFLA_IFNAME, name),
        attr(IFLA_ADDRESS, mac_bytes(mac)),
        nested(IFLA_LINKINFO, attr_text(IFLA_INFO_KIND, "bridge")),
    ]
    if mtu:
        attrs.append(attr_u32(IFLA_MTU, mtu))
    if group:
        attrs.append(attr_u32(IFLA_GROUP, group))
    return _link(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, IFF_UP, IFF_UP, *attrs)


def create_veth_request(
    host: str, peer: str, *, netns_pid: int = 0, netns_fd: int = -1, mtu: int, master: int, peer_mac: str = ""
) -> bytes:
    """A veth pair: the host's end up and a port of `master`, the peer down in the network namespace of a process.

    One queue each way: the kernel's default is one per possible processor, which costs memory and time for nothing.
    """
    queues = attr_u32(IFLA_NUM_TX_QUEUES, 1) + attr_u32(IFLA_NUM_RX_QUEUES, 1)
    inside = [attr_text(IFLA_IFNAME, peer), queues]
    outside = [attr_text(IFLA_IFNAME, host), queues]
    if netns_fd >= 0:
        inside.append(attr_u32(IFLA_NET_NS_FD, netns_fd))
    elif netns_pid:
        inside.append(attr_u32(IFLA_NET_NS_PID, netns_pid))
    if mtu:
        inside.append(attr_u32(IFLA_MTU, mtu))
        outside.append(attr_u32(IFLA_MTU, mtu))
    if peer_mac:
        inside.append(attr(IFLA_ADDRESS, mac_bytes(peer_mac)))
    if master:
        outside.append(attr_u32(IFLA_MASTER, master))
    peer_info = attr(VETH_INFO_PEER, _IFINFO.pack(0, 0, 0, 0, 0) + b"".join(inside))
    kind = nested(IFLA_LINKINFO, attr_text(IFLA_INFO_KIND, "veth"), nested(IFLA_INFO_DATA, peer_info))
    return _link(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, IFF_UP, IFF_UP, *outside, kind)


def delete_link_request(*, index: int = 0, name: str = "") -> bytes:
    """Delete a link by index or name; a veth takes its peer along."""
    return _link(RTM_DELLINK, 0, index, 0, 0, *([attr_text(IFLA_IFNAME, name)] if name else []))


def set_link_request(
    *,
    index: int = 0,
    name: str = "",
    new_name: str = "",
    up: bool | None = None,
    mtu: int = 0,
    mac: str = "",
    master: int | None = None,
    no_ipv6_address: bool = False,
) -> bytes:
    """Change a link found by `index`, or by `name` when index is 0."""
    attrs = []
    if name or new_name:
        attrs.append(attr_text(IFLA_IFNAME, new_name or name))
    if mac:
        attrs.append(attr(IFLA_ADDRESS, mac_bytes(mac)))
    if mtu:
        attrs.append(attr_u32(IFLA_MTU, mtu))
    if master is not None:
        attrs.append(attr_u32(IFLA_MASTER, master))
    if no_ipv6_address:
        mode = attr_u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE)
        attrs.append(nested(IFLA_AF_SPEC, nested(socket.AF_INET6, mode)))
    change = 0 if up is None else IFF_UP
    return _link(RTM_NEWLINK, 0, index, IFF_UP if up else 0, change, *attrs)


def set_link_alias_request(index: int, alias: str) -> bytes:
    """A free text on a link, shown by ip(8)."""
    return _link(RTM_NEWLINK, 0, index, 0, 0, attr(IFLA_IFALIAS, alias.encode()))


def list_links(netlink: NetlinkSocket) -> list[Link]:
    """All links of the namespace."""
    request = _link(RTM_GETLINK, NLM_F_DUMP, 0, 0, 0)
    found = []
    for reply in netlink.dump(request, "list links"):
        _af, _kind, index, flags, _change = _IFINFO.unpack_from(reply.payload)
        found.append(Link(index, flags, attributes(reply.payload, _IFINFO.size)))
    return found


def _prefix(cidr: str) -> tuple[bytes, int]:
    text, _slash, length = cidr.partition("/")
    raw = ip_bytes(text)
    return raw, int(length) if length else len(raw) * 8


def add_address_request(index: int, cidr: str) -> bytes:
    """Give link `index` an address (`172.17.0.2/16`); IPv6 without duplicate detection, so that it works at once."""
    raw, length = _prefix(cidr)
    bits = len(raw) * 8
    attrs = [attr(IFA_LOCAL, raw), attr(IFA_ADDRESS, raw)]
    if bits == 32 and length < 31:
        host_bits = (1 << (32 - length)) - 1
        attrs.append(attr(IFA_BROADCAST, (int.from_bytes(raw, "big") | host_bits).to_bytes(4, "big")))
    if bits == 128:
        attrs.append(attr_u32(IFA_FLAGS, IFA_F_NODAD))
    payload = _IFADDR.pack(family_of(raw), length, 0, RT_SCOPE_UNIVERSE, index) + b"".join(attrs)
    return message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, payload)


def delete_address_request(index: int, cidr: str) -> bytes:
    """Take an address from link `index`."""
    raw, length = _prefix(cidr)
    payload = _IFADDR.pack(family_of(raw), length, 0, 0, index) + attr(IFA_LOCAL, raw)
    return message(RTM_DELADDR, 0, payload)


def add_route_request(index: int, destination: str, gateway: str = "", *, metric: int = 0) -> bytes:
    """A route over link `index`; `destination` is a prefix or "default" (of the gateway's family).

    An unspecified `gateway` is the link itself.
    """
    if destination == "default":
        raw, length = b"", 0
        family = family_of(ip_bytes(gateway)) if gateway else socket.AF_INET
    else:
        raw, length = _prefix(destination)
        family = family_of(raw)
    attrs = [attr_u32(RTA_OIF, index)]
    if raw:
        attrs.append(attr(RTA_DST, raw))
    via = "" if gateway in ("0.0.0.0", "::") else gateway
    if via:
        attrs.append(attr(RTA_GATEWAY, ip_bytes(via)))
    if metric:
        attrs.append(attr_u32(RTA_PRIORITY, metric))
    scope = RT_SCOPE_UNIVERSE if via or family == socket.AF_INET6 else RT_SCOPE_LINK
    head = _RTMSG.pack(family, length, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0)
    return message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, head + b"".join(attrs))


def list_addresses(netlink: NetlinkSocket) -> list[tuple[int, str]]:
    """(link index, "address/prefix length") of all addresses of the namespace."""
    found = []
    for reply in netlink.dump(message(RTM_GETADDR, NLM_F_DUMP, _IFADDR.pack(0, 0, 0, 0, 0)), "list addresses"):
        family, length, _flags, _scope, index = _IFADDR.unpack_from(reply.payload)
        attrs = attributes(reply.payload, _IFADDR.size)
        raw = attrs.get(IFA_LOCAL) or attrs.get(IFA_ADDRESS)
        if raw and family in (socket.AF_INET, socket.AF_INET6):
            found.append((index, f"{socket.inet_ntop(family, raw)}/{length}"))
    return found


def list_routes(netlink: NetlinkSocket) -> list[tuple[int, str]]:
    """(link index, destination prefix) of the unicast routes in the main table, without default routes."""
    request = message(RTM_GETROUTE, NLM_F_DUMP, _RTMSG.pack(0, 0, 0, 0, 0, 0, 0, 0, 0))
    found = []
    for reply in netlink.dump(request, "list routes"):
        family, length, _src, _tos, table, _proto, _scope, kind, _flags = _RTMSG.unpack_from(reply.payload)
        if kind != RTN_UNICAST or table != RT_TABLE_MAIN or family not in (socket.AF_INET, socket.AF_INET6):
            continue
        attrs = attributes(reply.payload, _RTMSG.size)
        raw = attrs.get(RTA_DST)
        if raw and length:
            found.append((_number(attrs.get(RTA_OIF)), f"{socket.inet_ntop(family, raw)}/{length}"))
    return found


_IPV6_OFF = ("net.ipv6.conf.IFNAME.disable_ipv6", "1")


def bring_up_loopback(netlink: NetlinkSocket | None = None) -> None:
    """Set lo up; the kernel gives it 127.0.0.1/8 and ::1."""
    configure_interfaces([], netlink=netlink)


def prepare_namespace() -> NetlinkSocket:
    """What a prepared sandbox can do before its container is known: lo up, IPv6 off on interfaces that come.

    Returns the namespace's socket for `configure_interfaces(..., netlink=socket, prepared=True)`, which then has about
    a third of the work left.
    """
    netlink = NetlinkSocket()
    try:
        bring_up_loopback(netlink)
        write_sysctls("default", dict([_IPV6_OFF]))
    except BaseException:
        netlink.close()
        raise
    return netlink


def _has_ipv6_off(interface: str) -> bool:
    """Whether it came after `prepare_namespace`: in a sandbox that was not made ahead it may have been there before."""
    try:
        with open(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6", "rb") as file:
            return file.read(1) == _IPV6_OFF[1].encode()
    except FileNotFoundError:  # a kernel without IPv6
        return True


def configure_interfaces(
    interfaces: Sequence[Mapping[str, Any]], *, netlink: NetlinkSocket | None = None, prepared: bool = False
) -> None:
    """Bring lo up and configure the container's interfaces, all in one batch (the fields: docs/architecture.md).

    An interface is found by `ifname_in_netns` and gets `name`. `prepared`: `prepare_namespace` ran, mostly
    before the interfaces came. Raises NetlinkError, OSError.
    """
    requests = [] if prepared else [set_link_request(index=_LOOPBACK_INDEX, up=True)]
    for iface in interfaces:
        current = iface.get("ifname_in_netns") or iface["name"]
        sysctls = dict(iface.get("sysctls") or {})
        if prepared and sysctls.get(_IPV6_OFF[0]) == _IPV6_OFF[1] and _has_ipv6_off(current):
            del sysctls[_IPV6_OFF[0]]  # a write waits for everybody's rtnetlink requests
        write_sysctls(current, sysctls)
        requests += interface_requests(socket.if_nametoindex(current), current, iface)
    own = netlink or NetlinkSocket()
    try:
        _configure(own, requests)
    finally:
        if netlink is None:
            own.close()


def _configure(netlink: NetlinkSocket, requests: Sequence[bytes]) -> None:
    """One batch, again while it meets EADDRINUSE: the MAC of a macvlan or the address of an ipvlan is busy until the
    namespace of the container that had it before is torn down."""
    deadline = time.monotonic() + _BUSY_S
    while True:
        try:
            return netlink.batch(requests, "configure the network interfaces")
        except NetlinkError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def interface_requests(index: int, current: str, iface: Mapping[str, Any]) -> list[bytes]:
    """What configures interface `current`, which gets its final name."""
    name = iface["name"]
    requests = [
        set_link_request(
            index=index,
            new_name=name if name != current else "",
            mac=iface.get("mac") or "",
            mtu=iface.get("mtu") or 0,
            up=True,
        )
    ]
    requests += [add_address_request(index, cidr) for cidr in iface.get("addresses") or ()]
    requests += [
        add_route_request(index, route["destination"], route.get("gateway") or "")
        for route in iface.get("routes") or ()
    ]
    requests += [add_route_request(index, "default", gw) for key in ("gateway", "gateway6") if (gw := iface.get(key))]
    return requests


def link_index(netlink: NetlinkSocket, name: str) -> int:
    """The index of an interface in the socket's namespace."""
    request = _link(RTM_GETLINK, 0, 0, 0, 0, attr_text(IFLA_IFNAME, name))
    index: int = _IFINFO.unpack_from(netlink.dump(request, f"find the interface {name}")[0].payload)[2]
    return index


def write_sysctls(ifname: str, sysctls: Mapping[str, str]) -> None:
    """Write /proc/sys of the caller's namespace; IFNAME is the interface. Without IPv6 its keys are left out."""
    for key, value in sysctls.items():
        path = "/proc/sys/" + "/".join(ifname if part == "IFNAME" else part for part in key.split("."))
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENOENT and key.startswith("net.ipv6."):
                continue
            raise
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
