"""Packets that rules log to a group of nfnetlink_log: the messages, pure, and the socket they come by. Daemon only.

The wire format is that of include/uapi/linux/netfilter/nfnetlink_log.h. A group has one listener in each network
namespace. The socket does not block; what is not read in time is lost in the kernel, by its buffer's limit.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from corten.linux.netlink import NETLINK_NETFILTER, NetlinkSocket, attr, attr_be32, attributes, message, messages
from corten.network.ipam import IPAddress

_ULOG = 4  # NFNL_SUBSYS_ULOG
_PACKET, _CONFIG = 0, 1
_CFG_CMD, _CFG_MODE, _CFG_NLBUFSIZ, _CFG_TIMEOUT = 1, 2, 3, 4
_CMD_BIND = 1
_COPY_PACKET = 2
_PAYLOAD = 9
_NFGENMSG = 4
_TIMEOUT_10MS = 10  # a packet is told after a tenth of a second at the latest
_KERNEL_BUFFER_BYTES = 4096
_BUFFER_BYTES = 256 * 1024
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
_WITH_PORTS = (6, 17, 132)
_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options: length in the second byte
_MAX_EXTENSIONS = 8


@dataclass(frozen=True, slots=True)
class LoggedPacket:
    """What its header says. `port` is that of the destination, 0 where there are none."""

    source: IPAddress
    destination: IPAddress
    protocol: str
    port: int


def logged_packets(datagram: bytes) -> Iterator[LoggedPacket]:
    """The packets of one netlink datagram; what is no whole header is passed over. Raises ValueError."""
    for event in messages(datagram):
        if event.type == (_ULOG << 8 | _PACKET):
            packet = parse_packet(attributes(event.payload, _NFGENMSG).get(_PAYLOAD, b""))
            if packet is not None:
                yield packet


def parse_packet(data: bytes) -> LoggedPacket | None:
    """A packet from its network header on, None for anything that is no IP packet."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        source, destination = ipaddress.IPv4Address(data[12:16]), ipaddress.IPv4Address(data[16:20])
        return _logged(source, destination, data[9], data[(data[0] & 0xF) * 4 :])
    if version == 6 and len(data) >= 40:
        kind, offset = data[6], 40
        for _ in range(_MAX_EXTENSIONS):
            if kind not in _EXTENSIONS or len(data) < offset + 2:
                break
            kind, offset = data[offset], offset + (data[offset + 1] + 1) * 8
        return _logged(ipaddress.IPv6Address(data[8:24]), ipaddress.IPv6Address(data[24:40]), kind, data[offset:])
    return None


def _logged(source: IPAddress, destination: IPAddress, kind: int, transport: bytes) -> LoggedPacket:
    port = int.from_bytes(transport[2:4], "big") if kind in _WITH_PORTS and len(transport) >= 4 else 0
    return LoggedPacket(source, destination, _PROTOCOLS.get(kind, str(kind)), port)


def _config(group: int, *attrs: bytes) -> bytes:
    return message((_ULOG << 8) | _CONFIG, 0, struct.pack("!BBH", 0, 0, group) + b"".join(attrs))


class LogSocket:
    """Listens to one group of the calling thread's network namespace."""

    def __init__(self, group: int) -> None:
        """Raises OSError: EBUSY when somebody listens to this group, others where the kernel cannot log."""
        self.group = group
        self._netlink = NetlinkSocket(NETLINK_NETFILTER)
        try:
            self._netlink.reserve_buffers(_BUFFER_BYTES)
            mode = struct.pack("!IBx", 0xFFFF, _COPY_PACKET)
            # the kernel answers a request to the group before the next one is read: one each
            for attrs in (
                (attr(_CFG_CMD, bytes([_CMD_BIND])),),
                (attr(_CFG_MODE, mode),),
                (attr_be32(_CFG_NLBUFSIZ, _KERNEL_BUFFER_BYTES), attr_be32(_CFG_TIMEOUT, _TIMEOUT_10MS)),
            ):
                self._netlink.batch([_config(group, *attrs)], f"listen to the log group {group}")
        except BaseException:
            self._netlink.close()
            raise

    def fileno(self) -> int:
        """The descriptor, for an event loop."""
        return self._netlink.fileno()

    def read(self) -> list[LoggedPacket] | None:
        """What one datagram has; None: there is nothing more now. What was lost to a full buffer is passed over. Raises
        OSError when nothing will come any more."""
        try:
            return list(logged_packets(self._netlink.receive(0.0)))
        except ValueError:
            return []
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return []
            if error.errno == errno.ETIMEDOUT:
                return None
            raise

    def close(self) -> None:
        """Close; the kernel gives the group free."""
        self._netlink.close()


def listen(first: int, tries: int) -> LogSocket:
    """A socket of the first free group from `first` on. Raises OSError."""
    for group in range(first, first + tries):
        try:
            return LogSocket(group)
        except OSError as error:
            if error.errno != errno.EBUSY or group == first + tries - 1:
                raise
    raise AssertionError("unreachable: the last try raises")
