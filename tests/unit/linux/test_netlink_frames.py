"""Netlink framing: what is packed comes back, and no bytes of a peer's make the reader fail otherwise."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.linux import netlink, rtnetlink
from corten.linux.addresses import mac_bytes


@given(st.lists(st.tuples(st.integers(0, netlink.NLA_TYPE_MASK), st.binary(max_size=40)), max_size=8))
def test_attributes_come_back_in_order(pairs):
    data = b"".join(netlink.attr(kind, value) for kind, value in pairs)
    assert len(data) % 4 == 0
    assert list(netlink.attribute_list(data)) == pairs


@given(st.lists(st.tuples(st.integers(16, 2000), st.binary(max_size=40)), max_size=6))
def test_messages_come_back_in_order(pairs):
    data = b"".join(netlink.message(kind, 0, payload) for kind, payload in pairs)
    found = [(m.type, m.payload) for m in netlink.messages(data)]
    assert found == pairs


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    list(netlink.attribute_list(data))
    try:
        for reply in netlink.messages(data):
            netlink.error_of(reply)
    except ValueError:
        pass


def test_the_kernels_own_explanation_is_read():
    text = netlink.attr(netlink.NLMSGERR_ATTR_MSG, b"No such device\0")
    payload = struct.pack("=i", -19) + struct.pack("=IHHII", 16, 16, 0, 1, 0) + text
    flags = netlink.NLM_F_CAPPED | netlink.NLM_F_ACK_TLVS
    assert netlink.error_of(netlink.Message(netlink.NLMSG_ERROR, flags, 1, payload)) == (19, "No such device")


def test_an_address_request_has_the_broadcast_address():
    request = rtnetlink.add_address_request(7, "172.17.0.2/16")
    attrs = netlink.attributes(request, 16 + 8)
    assert request[17] == 16
    assert socket.inet_ntoa(attrs[rtnetlink.IFA_BROADCAST]) == "172.17.255.255"
    assert socket.inet_ntoa(attrs[rtnetlink.IFA_LOCAL]) == "172.17.0.2"


def test_an_ipv6_address_skips_duplicate_detection():
    attrs = netlink.attributes(rtnetlink.add_address_request(7, "fd00::2/64"), 16 + 8)
    assert struct.unpack("=I", attrs[rtnetlink.IFA_FLAGS])[0] & rtnetlink.IFA_F_NODAD
    assert rtnetlink.IFA_BROADCAST not in attrs


@pytest.mark.parametrize("mac", ["", "02:42", "zz:00:00:00:00:00", "02:42:ac:11:00:02:03"])
def test_a_bad_mac_is_refused(mac):
    with pytest.raises(ValueError):
        mac_bytes(mac)


def test_a_too_long_attribute_is_refused():
    with pytest.raises(ValueError, match="too long"):
        netlink.attr(1, bytes(70000))
