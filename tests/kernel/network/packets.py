"""Crafted packets, and the kernel's tables as they are: what the network tests use in whatever namespace they are."""

import os
import socket
import struct
from pathlib import Path

from corten.linux import rtnetlink
from corten.linux.netlink import (
    NETLINK_NETFILTER,
    NLM_F_DUMP,
    NetlinkSocket,
    attr,
    attr_text,
    attribute_list,
    attributes,
    message,
)

# kind -> (request, attribute of its chain or set, attribute of its name, attribute of its content)
_NFT_DUMPS = {"chain": (4, 3, 3, 4), "rule": (7, 2, 2, 4), "set": (10, 2, 2, 5)}


def bridge_filter_is(value):
    """Whether bridged frames pass the IP hooks (br_netfilter), as they do beside Kubernetes or Docker."""
    for name in ("iptables", "ip6tables"):
        path = f"net/bridge/bridge-nf-call-{name}"
        if os.path.exists(f"/proc/sys/{path}"):
            sysctl(path, value)


def send_arp(interface, mac, sender, claimed, target):
    """Send an ARP reply to `mac`: `claimed` is at `sender`; what a hostile container tells its neighbours."""
    raw_sender, raw_mac = (bytes.fromhex(text.replace(":", "")) for text in (sender, mac))
    body = struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, raw_sender, socket.inet_aton(claimed), raw_mac, socket.inet_aton(target)
    )
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as raw:
        raw.bind((interface, 0))
        raw.send(raw_mac + raw_sender + b"\x08\x06" + body)


def send_advertisement(interface, mac, sender, source, claimed, target):
    """Send a neighbour advertisement (RFC 4861, 4.4) from `source` to `target` at `mac`: `claimed` is at `sender`."""
    raw_sender, raw_mac = (bytes.fromhex(text.replace(":", "")) for text in (sender, mac))
    raw_source, raw_claimed, raw_target = (
        socket.inet_pton(socket.AF_INET6, text) for text in (source, claimed, target)
    )
    body = struct.pack(
        "!I16sBB6s", 0x2000_0000, raw_claimed, 2, 1, raw_sender
    )  # override; the target's link-layer address
    unsummed = struct.pack("!BBH", 136, 0, 0) + body
    pseudo = raw_source + raw_target + struct.pack("!IHBB", len(unsummed), 0, 0, 58) + unsummed
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    message6 = struct.pack("!BBH", 136, 0, ~total & 0xFFFF) + body
    head = struct.pack("!IHBB16s16s", 6 << 28, len(message6), 58, 255, raw_source, raw_target)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD)) as raw:
        raw.bind((interface, 0))
        raw.send(raw_mac + raw_sender + b"\x86\xdd" + head + message6)


def send_udp(host, port, text):
    """One datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(text.encode(), (host, port))


def table_contents(table, family=1):
    """Chains, rules by chain and elements by set of a table in the kernel (inet, or 7: bridge), without handles: to
    compare."""
    found = {}
    with NetlinkSocket(NETLINK_NETFILTER) as netlink:
        for kind, (command, owner, name, value) in _NFT_DUMPS.items():
            request = message(10 << 8 | command, NLM_F_DUMP, struct.pack("!BBH", family, 0, 0))
            for reply in netlink.dump(request, f"list {kind}"):
                if reply.payload[0] != family or attributes(reply.payload, 4).get(1) != table.encode() + b"\0":
                    continue
                fields = attributes(reply.payload, 4)
                key = f"{kind} {fields[owner].rstrip(bytes(1)).decode()}"
                found.setdefault(key, []).append(fields.get(value, b"").hex())
                if kind == "set":
                    found[key] += _elements_of(netlink, table, fields[name], family)
    return found


def _elements_of(netlink, table, name, family):
    request = struct.pack("!BBH", family, 0, 0) + attr_text(1, table) + attr(2, name)
    replies = netlink.dump(message(10 << 8 | 13, NLM_F_DUMP, request), "list elements")
    return sorted(
        value.hex() for reply in replies for _kind, value in attribute_list(attributes(reply.payload, 4).get(3, b""))
    )


def join_beyond(pid):
    """In the neighbour: a link to the host beyond it, and routing."""
    with NetlinkSocket() as netlink:
        netlink.batch([rtnetlink.create_veth_request("beyond0", "eth0", netns_pid=pid, mtu=1500, master=0)], "beyond")
        index = socket.if_nametoindex("beyond0")
        addresses = ("198.51.100.1/24", "2001:db8:1::1/64")
        netlink.batch([rtnetlink.add_address_request(index, address) for address in addresses], "beyond")
    sysctl("net/ipv4/ip_forward", "1")
    sysctl("net/ipv6/conf/all/forwarding", "1")


def udp_collector(writer, port):
    """What arrives until a datagram that says "end": [source address, text] of each."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", port))
        os.write(writer, b"r")
        found = []
        while not found or found[-1][1] != "end":
            data, address = server.recvfrom(2048)
            found.append([address[0], data.decode()])
        return found


def sysctl(path, value=None):
    """Read or write a sysctl of the calling process's network namespace."""
    file = Path("/proc/sys") / path
    if value is not None:
        file.write_text(value)
    return file.read_text().strip()
