"""An outside with public addresses and a name server, for tests of egress lists, and what is tried from inside."""

import asyncio
import errno
import json
import os
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.kernel.network.asking import AAAA, A, _name, ask

from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket

HOST, LAN, LAN6 = "203.0.113.1", "203.0.113.2", "2001:db8::2"
WEB, WEB6, OTHER, OTHER6 = "93.184.216.34", "2606:2800:220:1::1", "198.41.0.4", "2001:503:ba3e::2"
CNAME, MX, TXT, HTTPS = 5, 15, 16, 65
METADATA = "169.254.169.254"
_OUTSIDE = (WEB, WEB6, OTHER, OTHER6, METADATA)


def main():
    """In a namespace of an outside: its addresses, a web server at 80 and 443, the name server. Says when it is ready,
    and ends with its input."""
    zone = json.loads(sys.argv[1])
    _take_addresses([LAN, *_OUTSIDE])
    servers = [ThreadingHTTPServer(("", port), _Hello) for port in (80, 443)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ready, tell = os.pipe()
    threading.Thread(target=_serve_zone, args=(tell, zone), daemon=True).start()
    os.read(ready, 1)
    print("ready", flush=True)
    sys.stdin.read()


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from outside\n")

    def log_message(self, *_about):
        pass


def _take_addresses(addresses):
    with NetlinkSocket() as netlink:
        index = socket.if_nametoindex("eth0")
        prefix = {4: 32, 6: 128}
        requests = [rtnetlink.add_address_request(index, f"{a}/{prefix[6 if ':' in a else 4]}") for a in addresses]
        netlink.batch(requests, "addresses of the outside")


def outside(world, zone):
    """A neighbour with public addresses, TCP servers at 80 and 443 of them, and the host's name server, which knows
    `zone`: (name, kind) -> (ttl, [addresses, or bytes of other kinds]). Returns it, and what it is asked."""
    lan = world.neighbour()
    lan.do(_take_addresses, _OUTSIDE)
    with NetlinkSocket() as netlink:
        index = socket.if_nametoindex("lan0")
        routes = [(f"{a}/128", LAN6) if ":" in a else (f"{a}/32", LAN) for a in _OUTSIDE]
        netlink.batch([rtnetlink.add_route_request(index, to, gateway) for to, gateway in routes], "routes")
    for port in (80, 443):
        lan.serve_tcp(port, socket.AF_INET6)
    reader = lan._fork(_serve_zone, {f"{name}/{kind}": answer for (name, kind), answer in zone.items()})
    assert os.read(reader, 1) == b"r"
    os.set_blocking(reader, False)
    world.resolv_conf.write(f"nameserver {LAN}\n")
    world.resolv_conf.flush()
    return lan, reader


def heard(reader):
    """The names that the server outside was asked for."""
    try:
        return os.read(reader, 65536).decode().split()
    except BlockingIOError:
        return []


def _serve_zone(writer, zone):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("0.0.0.0", 53))
        os.write(writer, b"r")
        while True:
            data, peer = udp.recvfrom(4096)
            name, end = _name(data, 12)
            os.write(writer, f"{name} ".encode())
            ttl, values = zone.get(f"{name.lower()}/{struct.unpack_from('!H', data, end)[0]}", (0, []))
            records = [_record(struct.unpack_from("!H", data, end)[0], ttl, value) for value in values]
            rcode = 0 if values else 3
            head = data[:2] + struct.pack("!5H", 0x8180 | rcode, 1, len(records), 0, 0)
            udp.sendto(head + data[12 : end + 4] + b"".join(records), peer)


def _record(asked, ttl, value):
    """One record of the question's name: an address, or (kind, hex of the data)."""
    if isinstance(value, str):
        kind = AAAA if ":" in value else A
        raw = socket.inet_pton(socket.AF_INET6 if kind == AAAA else socket.AF_INET, value)
    else:
        kind, raw = value[0], bytes.fromhex(value[1])
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(raw)) + raw


def tried(kind, host, port=0, source="", timeout=3.0):
    """ "reached", "refused" (told at once, by reset or ICMP) or "lost": what becomes of a first packet from here."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    protocols = {
        "tcp": (socket.SOCK_STREAM, 0),
        "udp": (socket.SOCK_DGRAM, 0),
        "ping": (socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if ":" in host else socket.IPPROTO_ICMP),
        "gre": (socket.SOCK_RAW, 47),
    }
    with socket.socket(family, *protocols[kind]) as sock:
        sock.settimeout(timeout)
        if source:
            sock.bind((source, 0))
        try:
            if kind != "tcp":
                sock.setsockopt(*((41, 25, 1) if ":" in host else (0, 11, 1)))  # IPV6_RECVERR, IP_RECVERR: for raw ones
            sock.connect((host, port))
            if kind == "ping":
                sock.send(struct.pack("!BBHHH", *((128, 0, 0) if ":" in host else (8, 0, 0xF7FD)), 1, 1))
            elif kind != "tcp":
                sock.send(b"????????")
            sock.recv(2048)
        except TimeoutError:
            return "lost"
        except OSError as error:
            if error.errno == errno.EPROTO:  # the other end's kernel: no such protocol here
                return "reached"
            if error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES):
                raise
            return "refused"
        return "reached"


def tried_all(attempts):
    """The same of several, by their texts."""
    return {" ".join(map(str, attempt)): tried(*attempt) for attempt in attempts}


async def until(holds, timeout_s=10.0):
    """Wait for a state."""
    deadline = time.monotonic() + timeout_s
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def told(world, **about):
    """Whether an event of a denial has these attributes."""

    async def holds():
        return any(
            action == "egress-denied" and about.items() <= found.items() for _cid, action, found in world.directory.told
        )

    return holds


def serve_echo(writer, port):
    """A server that says what it hears."""
    with socket.create_server(("", port)) as server:
        os.write(writer, b"r")
        while True:
            client, _peer = server.accept()
            if os.fork() == 0:
                while data := client.recv(100):
                    client.sendall(data)
                os._exit(0)
            client.close()


def talk_until_shut(name, port):
    """Connect to a name's address, wait until new connections are refused, and go on talking; what was heard. Asked
    again when a busy machine took longer than the address was let through for."""
    while True:
        address = ask(name)[3][0]
        try:
            with socket.create_connection((address, port), 5) as old:
                old.sendall(b"before")
                heard_back = [old.recv(100).decode()]
                while tried("tcp", address, port, "", 0.2) != "refused":
                    time.sleep(0.05)
                old.sendall(b"after")
                return [*heard_back, old.recv(100).decode()]
        except ConnectionRefusedError:
            continue


def flood(host, count):
    """Send many datagrams that nobody wants."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            sock.sendto(b"x", (host, 9))


if __name__ == "__main__":
    main()
