"""Logged packets: what their headers say."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.linux.netlink import attr, message
from corten.network.nflog import LoggedPacket, logged_packets, parse_packet

V4 = (ipaddress.ip_address("172.17.0.2"), ipaddress.ip_address("8.8.8.8"))
V6 = (ipaddress.ip_address("fd00::2"), ipaddress.ip_address("2620:fe::fe"))


def packet4(protocol, body, options=b""):
    head = struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, 0, 0, 0, 0, 64, protocol, 0)
    return head + V4[0].packed + V4[1].packed + options + body


def packet6(protocol, body):
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + V6[0].packed + V6[1].packed + body


PORTS = struct.pack("!HH", 4444, 443)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (packet4(6, PORTS), LoggedPacket(*V4, "tcp", 443)),
        (packet4(17, PORTS, options=bytes(8)), LoggedPacket(*V4, "udp", 443)),
        (packet4(1, b"\x08\0\0\0"), LoggedPacket(*V4, "icmp", 0)),
        (packet4(47, PORTS), LoggedPacket(*V4, "47", 0)),
        (packet4(6, b"\0"), LoggedPacket(*V4, "tcp", 0)),
        (packet6(132, PORTS), LoggedPacket(*V6, "sctp", 443)),
        (packet6(0, bytes([60, 0, *bytes(6)]) + bytes([6, 0, *bytes(6)]) + PORTS), LoggedPacket(*V6, "tcp", 443)),
        (packet6(58, b"\x80\0\0\0"), LoggedPacket(*V6, "ipv6-icmp", 0)),
        (b"", None),
        (b"\x45", None),
        (b"\x60" + bytes(20), None),
        (b"\x25" + bytes(60), None),
    ],
)
def test_headers_are_read(data, expected):
    assert parse_packet(data) == expected


def test_a_datagram_of_the_kernels_has_packets_and_other_messages():
    logged = message(4 << 8, 0, struct.pack("!BBH", 2, 0, 5) + attr(1, bytes(4)) + attr(9, packet4(6, PORTS)))
    other = message(3, 0, bytes(4))
    empty = message(4 << 8, 0, bytes(4))
    assert list(logged_packets(logged + other + empty)) == [LoggedPacket(*V4, "tcp", 443)]


@given(st.binary(max_size=100))
def test_no_packet_breaks_it(data):
    found = parse_packet(data)
    assert found is None or 0 <= found.port < 65536


@given(st.binary(max_size=100))
def test_extension_headers_come_to_an_end(data):
    assert parse_packet(packet6(0, data)) is not None
