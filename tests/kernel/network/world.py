"""A small world of network namespaces for tests: a "host" with the network service, containers, a neighbour.

`in_own_world` runs a scenario in a child process with a network namespace of its own: whatever it makes there dies with
the child, nothing reaches the machine's network.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import struct
import tempfile
import time
import traceback

from tests.kernel.network.packets import join_beyond, udp_collector

from corten.engine.events import Events
from corten.engine.networks.host_resolv import HostResolvConf
from corten.engine.networks.service import NetworkService
from corten.engine.networks.settings import AttachRequest, NetworkSettings
from corten.errors import NotFound
from corten.lib import blocking
from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.linux.rtnetlink import bring_up_loopback, configure_interfaces
from corten.shim.netns_sockets import hand_out_sockets

_LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
REFUSED_AFTER_S = 0.4  # how long a connection that must not come about is tried


class MemoryRecords:
    """Records as the database keeps them, for one test."""

    def __init__(self):
        self.rows = {}

    def put(self, key, value, name=""):
        self.rows[key] = value

    def delete(self, key):
        self.rows.pop(key, None)

    def list(self):
        return list(self.rows.items())


def _check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def in_own_world(scenario):
    """Run the async `scenario(world)` in a child with its own network namespace; its failure is ours."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = ""
        try:
            os.setpgid(0, 0)
            blocking._pools.clear()  # their threads are in the process that we come from
            _check(_LIBC.unshare(CLONE_NEWNET))
            asyncio.run(_run(scenario))
        except BaseException:
            text = traceback.format_exc()
        with contextlib.suppress(BaseException):
            os.write(writer, text.encode()[-60000:])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        text = stream.read().decode()
    os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if text:
        raise AssertionError(text)


async def _run(scenario):
    async with asyncio.timeout(60):
        world = World()
        try:
            await scenario(world)
        finally:
            world.end()


def _keep_only(*keep):
    """The parent's sockets must not live on in a child: a port would stay taken."""
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):
                os.close(fd)


class Box:
    """A process that does nothing in a network namespace of its own, and work done in there."""

    def __init__(self, *, prepared=False):
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _keep_only(tell)
                _check(_LIBC.unshare(CLONE_NEWNET))
                if not prepared:
                    bring_up_loopback()
                os.write(tell, b"x")
                os.close(tell)
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(tell)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        self.children = []

    def _fork(self, work, *args, keep=()):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _keep_only(writer, *keep)
                fd = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
                _check(_LIBC.setns(fd, CLONE_NEWNET))
                answer = {"value": work(writer, *args)}
            except BaseException as error:
                answer = {"error": repr(error)}
            os.write(writer, json.dumps(answer).encode() + b"\n")
            os._exit(0)
        os.close(writer)
        self.children.append(pid)
        return reader

    def do(self, work, *args, keep=-1):
        """Run `work(*args)` inside and return its JSON-able result; descriptor `keep` is inherited."""
        reader = self._fork(lambda _writer: work(*args), keep=(keep,))
        return _answer(reader)

    async def ado(self, work, *args):
        """`do` without blocking the loop, which may have to serve what `work` asks for."""
        reader = self._fork(lambda _writer: work(*args))
        return await asyncio.to_thread(_answer, reader)

    def serve_tcp(self, port, family=socket.AF_INET):
        """A TCP server that tells each client the client's address; it is listening when this returns."""
        reader = self._fork(_tcp_server, port, family)
        assert os.read(reader, 1) == b"r"
        os.close(reader)

    def serve_udp(self, port):
        """The same over UDP."""
        reader = self._fork(_udp_server, port)
        assert os.read(reader, 1) == b"r"
        os.close(reader)

    def begin(self, work, *args, keep=()):
        """Run `work(*args)` inside meanwhile, with descriptors `keep`; returns what waits for its result."""
        reader = self._fork(lambda _writer: work(*args), keep=keep)
        return lambda: _answer(reader)

    def collect_udp(self, port):
        """Begin to collect datagrams; returns what waits for the "end" and tells what came."""
        reader = self._fork(udp_collector, port)
        assert os.read(reader, 1) == b"r"
        return lambda: _answer(reader)

    def end(self):
        for pid in [*self.children, self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


class HostBox(Box):
    """The host's namespace itself."""

    def __init__(self):
        self.pid = os.getpid()
        self.children = []


def _answer(reader):
    with open(reader, "rb") as stream:
        answer = json.loads(stream.read())
    if "error" in answer:
        raise AssertionError(answer["error"])
    return answer["value"]


def _tcp_server(writer, port, family):
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    server.listen(16)
    os.write(writer, b"r")
    while True:
        client, address = server.accept()
        with client:
            client.sendall(address[0].encode())


def _udp_server(writer, port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", port))
    os.write(writer, b"r")
    while True:
        _data, address = server.recvfrom(2048)
        server.sendto(address[0].encode(), address)


def ask_tcp(host, port, timeout=10.0):
    """What the server at host:port says, or "" when it cannot be reached."""
    try:
        with socket.create_connection((host, port), timeout) as client:
            client.settimeout(timeout)
            answer = b""
            while data := client.recv(100):
                answer += data
            return answer.decode()
    except OSError:
        return ""


def refused_tcp(host, port):
    """Whether nothing answers at host:port."""
    return ask_tcp(host, port, REFUSED_AFTER_S) == ""


def ask_udp(host, port, timeout=10.0):
    """The same over UDP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + timeout
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(min(timeout, 1.0))
        client.connect((host, port))
        while time.monotonic() < deadline:  # a datagram may be lost
            try:
                client.send(b"?")
                return client.recv(100).decode()
            except TimeoutError:
                continue
            except OSError:
                return ""
    return ""


class Directory:
    """The containers that connect and disconnect know of."""

    def __init__(self):
        self.views = {}
        self.told = []  # events of containers

    def view(self, reference):
        if reference not in self.views:
            raise NotFound(f"No such container: {reference}")
        return self.views[reference]

    async def set_endpoint(self, cid, network, settings, *, resolver=False):
        view = next(v for v in self.views.values() if v.id == cid)
        view.networks.pop(network, None)
        if settings is not None:
            view.networks[network] = settings

    def using(self, network_id, name):
        return [view.name for view in self.views.values() if name in view.networks]

    def announce(self, cid, action, about):
        self.told.append((cid, action, about))


class World:
    """The host's side of the scenario."""

    def __init__(self):
        bring_up_loopback()
        self.boxes = []
        self.services = []
        self.networks = MemoryRecords()
        self.endpoints = MemoryRecords()
        self.service_rows = MemoryRecords()
        self.directory = Directory()
        self.of = {}  # container id -> its box
        self.resolv_conf = tempfile.NamedTemporaryFile("w", suffix=".conf")

    async def service(self, living=None, **settings):
        """A network service on this host, recovered."""
        service = NetworkService(
            settings=NetworkSettings(**{"instance": "-00test", **settings}),
            networks=self.networks,
            endpoints=self.endpoints,
            services=self.service_rows,
            events=Events(),
            host_resolv=HostResolvConf(self.resolv_conf.name),
        )
        service.serve(self.directory, self)
        self.services.append(service)
        await service.recover(living or {})
        return service

    async def open_sockets(self, cid, wanted, *, sysctls=None):
        """Sockets of a container's namespace, made by the zygote's own code."""
        ours, theirs = socket.socketpair()
        netns = os.open(f"/proc/{self.of[cid].pid}/ns/net", os.O_RDONLY)
        hand_out_sockets({"sockets": wanted, "sysctls": sysctls or {}}, theirs.detach(), netns)
        with ours:
            data, fds, _flags, _address = socket.recv_fds(ours, 4096, len(wanted))
        assert fds, data
        made = [socket.socket(fileno=fd) for fd in fds]
        for sock in made:
            sock.setblocking(False)
        return made

    def box(self, **kwargs):
        box = Box(**kwargs)
        self.boxes.append(box)
        return box

    def kill(self, service):
        """End a service as kill -9 does: its sockets close, nothing is withdrawn."""
        service._firewall_watch.close()
        service._egress.close()
        service._publisher.close()
        service._firewall.close()

    async def container(self, service, *, prewarm=False, cid=None, **request):
        """A container in its networks: (id, box, what attach answered)."""
        box = self.box()
        cid = cid or secrets.token_hex(32)
        if prewarm:
            service.prewarm(cid, box.pid)
        request.setdefault("name", f"c{len(self.boxes)}")
        self.of[cid] = box
        attached = await service.attach(cid, AttachRequest(**request), box.pid)
        box.do(configure_interfaces, attached.interfaces)
        return cid, box, attached

    def box_of_host(self):
        """Work in another process of the host's own namespace, while our loop serves."""
        return HostBox()

    def neighbour(self):
        """Another host on the same link: we are 203.0.113.1, it is 203.0.113.2."""
        box = self.box()
        with NetlinkSocket() as netlink:
            request = rtnetlink.create_veth_request("lan0", "eth0", netns_pid=box.pid, mtu=1500, master=0)
            netlink.batch([request], "lan")
            index = socket.if_nametoindex("lan0")
            netlink.batch(
                [
                    rtnetlink.add_address_request(index, "203.0.113.1/24"),
                    rtnetlink.add_address_request(index, "2001:db8::1/64"),
                ],
                "lan",
            )
        iface = {"name": "eth0", "addresses": ["203.0.113.2/24", "2001:db8::2/64"]}
        box.do(configure_interfaces, [{**iface, "gateway": "203.0.113.1", "gateway6": "2001:db8::1"}])
        return box

    def beyond(self, lan):
        """A host beyond the neighbour, which routes for it: 198.51.100.2."""
        box = self.box()
        lan.do(join_beyond, box.pid)
        there = {"name": "eth0", "addresses": ["198.51.100.2/24", "2001:db8:1::2/64"]}
        box.do(configure_interfaces, [{**there, "gateway": "198.51.100.1", "gateway6": "2001:db8:1::1"}])
        with NetlinkSocket() as netlink:
            index = socket.if_nametoindex("lan0")
            routes = [("198.51.100.0/24", "203.0.113.2"), ("2001:db8:1::/64", "2001:db8::2")]
            netlink.batch([rtnetlink.add_route_request(index, to, gateway) for to, gateway in routes], "routes")
        return box

    def end(self):
        for box in self.boxes:
            box.end()
        self.resolv_conf.close()


def send_spoofed_udp(interface, mac, source, destination, port):
    """Send a UDP datagram with any addresses in a frame to `mac`: what a hostile container can do with NET_RAW."""
    payload = b"spoofed"
    udp = struct.pack("!HHHH", 4444, port, 8 + len(payload), 0) + payload
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, *map(socket.inet_aton, (source, destination))
    )
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as raw:
        raw.bind((interface, 0))
        own = raw.getsockname()[4]
        raw.send(bytes.fromhex(mac.replace(":", "")) + own + b"\x08\x00" + head + udp)


def mac_of_link(name):
    """The MAC of a link in the calling process's network namespace (sysfs shows that of its mount)."""
    with NetlinkSocket() as netlink:
        return next(link.address for link in rtnetlink.list_links(netlink) if link.name == name)
