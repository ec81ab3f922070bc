"""Frames as hostile containers send them, and what becomes of them; run in whatever namespace they are."""

import os
import socket
import struct

from tests.kernel.network.world import mac_of_link

from corten.linux import rtnetlink
from corten.linux.netlink import NLM_F_DUMP, NetlinkSocket, attributes, message


def _checksum(addresses, protocol, data):
    """Of an upper layer's packet in IPv6."""
    whole = addresses + struct.pack("!IBBBB", len(data), 0, 0, 0, protocol) + data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def own_mac():
    """The MAC of eth0."""
    return mac_of_link("eth0")


def frame(kind, payload, destination, source=None):
    """Send a frame by eth0."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as raw:
        raw.bind(("eth0", 0))
        own = raw.getsockname()[4]
        source = own if source is None else bytes.fromhex(source.replace(":", ""))
        raw.send(
            bytes.fromhex(destination.replace(":", "")) + source + struct.pack("!H", kind) + bytes.fromhex(payload)
        )


def neighbours_know(address):
    """The MAC that this namespace knows for an address, "" for none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with NetlinkSocket() as netlink:
        request = message(30, NLM_F_DUMP, struct.pack("=BxxxiHBB", family, 0, 0, 0, 0))  # RTM_GETNEIGH
        for reply in netlink.dump(request, "list neighbours"):
            found = attributes(reply.payload, 12)
            if found.get(1) == socket.inet_pton(family, address) and 2 in found:
                return found[2].hex(":")
    return ""


def udp6(source, destination, port, payload=b"spoofed"):
    """An IPv6 packet with a UDP datagram, as hex."""
    udp = struct.pack("!HHHH", 4444, port, 8 + len(payload), 0) + payload
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    udp = udp[:6] + _checksum(addresses, 17, udp) + udp[8:]
    return (struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + addresses + udp).hex()


def advertisement(source, destination, target, mac):
    """A neighbour advertisement, overriding, as hex."""
    body = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + socket.inet_pton(socket.AF_INET6, target)
    body += b"\x02\x01" + bytes.fromhex(mac.replace(":", ""))
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    body = body[:2] + _checksum(addresses, 58, body) + body[4:]
    return (struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + addresses + body).hex()


def address_of_eth0():
    with NetlinkSocket() as netlink:
        index = socket.if_nametoindex("eth0")
        return next(c.partition("/")[0] for i, c in rtnetlink.list_addresses(netlink) if i == index and "." in c)


def tell_frames(writer):
    """Tell the types of the frames that come, but what kernels say on their own (ARP, IGMP, ICMPv6), until one has "end"."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as raw:
        raw.bind(("eth0", 0))
        os.write(writer, b"r")
        while True:
            data, about = raw.recvfrom(4096)
            if about[2] == socket.PACKET_OUTGOING or data[12:14] == b"\x08\x06":
                continue
            igmp = data[12:14] == b"\x08\x00" and data[23] == 2
            if igmp or (data[12:14] == b"\x86\xdd" and data[20] in (0, 58)):
                continue
            os.write(writer, data[12:14].hex().encode() + b"\n")
            if b"end" in data:
                os._exit(0)


def send_udp6(address):
    """One datagram, so that the neighbour is known; waits for it."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((address, 7999))
        client.send(b"?")
        try:
            client.recv(10)
        except ConnectionRefusedError:
            return
