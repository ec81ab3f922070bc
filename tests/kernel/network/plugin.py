"""A network and IPAM plugin for tests: real veth links and bridges, a journal of what it was asked, and bad manners.

It serves on a unix socket in the loop of the test, or in a thread of its own (`beside`), and makes its links in the
network namespace of the test.
"""

import asyncio
import contextlib
import ipaddress
import json
import socket
import tempfile
import threading
from pathlib import Path

from corten.linux import rtnetlink
from corten.linux.netlink import NetlinkSocket
from corten.network.plugins.client import Patience
from corten.network.plugins.discovery import PluginFolders

PATIENT = Patience(connect_s=30, answer_s=30, first_pause_s=0.02)
SILENT = Patience(connect_s=30, answer_s=2, first_pause_s=0.02)  # for a plugin that does not answer
ABSENT = Patience(connect_s=0.3, answer_s=30, first_pause_s=0.02)  # for one that is not there
SPACE = "tests"


def _batch(*requests):
    with NetlinkSocket() as netlink:
        netlink.batch(requests, "the plugin's links")


class Refusal(Exception):
    """What the plugin answers as `Err`."""


class PluginServer:
    """`calls` is the journal; `behave[method]` replaces an answer: a dict to send, bytes to send raw, a Refusal, a
    coroutine function (body) -> answer, or "hang"."""

    def __init__(self, name="weave", folder=None):
        self.name = name
        self._own = tempfile.TemporaryDirectory(prefix="corten-plugins-") if folder is None else None
        self._folder = Path(self._own.name if folder is None else folder)
        self.folders = PluginFolders(sockets=(self._folder,), specs=())
        self.calls = []
        self.behave = {}
        self.capabilities = {"RequiresMACAddress": False, "RequiresRequestReplay": False}
        self.networks, self.endpoints, self.joined = {}, {}, set()
        self.pools, self.taken = {}, set()
        self._server = None
        self._talks = set()

    @property
    def socket(self):
        return self._folder / f"{self.name}.sock"

    @property
    def settings(self):
        """For World.service."""
        return {"plugin_folders": self.folders, "plugin_patience": PATIENT}

    def settings_with(self, patience):
        """The same, for a plugin that lets others wait."""
        return {**self.settings, "plugin_patience": patience}

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_error):
        await self.stop()
        if self._own is not None:
            self._own.cleanup()

    @contextlib.contextmanager
    def beside(self):
        """Served by a thread, for a test that waits for a client."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.start(), loop).result(10)
            yield self
            asyncio.run_coroutine_threadsafe(self.stop(), loop).result(10)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def start(self):
        self._server = await asyncio.start_unix_server(self._serve, self.socket)

    async def stop(self):
        """As when the plugin's process ends: its socket goes, its state and its links stay."""
        self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()

    def asked(self, prefix=""):
        """The methods in the order of their calls."""
        return [method for method, _body in self.calls if method.startswith(prefix)]

    def body(self, method):
        """What the last call of a method said."""
        return next(body for name, body in reversed(self.calls) if name == method)

    async def _serve(self, reader, writer):
        self._talks.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert "Accept: application/vnd.docker.plugins.v1" in head
            length = next(line for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            raw = await reader.readexactly(int(length.split(":")[1]))
            method = head.split(" ")[1].removeprefix("/")
            self.calls.append((method, json.loads(raw) if raw else None))
            writer.write(await self._answer(method, json.loads(raw) if raw else {}))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._talks.discard(asyncio.current_task())
            writer.close()

    async def _answer(self, method, body):
        planned = self.behave.get(method)
        if planned == "hang":
            await asyncio.sleep(3600)
        if isinstance(planned, bytes):
            return planned
        status = 200
        try:
            if isinstance(planned, Refusal):
                raise planned
            if callable(planned):
                answer = await planned(body)
            elif planned is not None:
                answer = planned
            else:
                work = getattr(self, method.partition(".")[2], None)
                if work is None:
                    return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
                answer = work(method, body)
        except Refusal as error:
            status, answer = 500, {"Err": str(error)}
        raw = json.dumps(answer).encode()
        return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(raw), raw)

    # -- the protocol ------------------------------------------------------------------------------------------------

    def Activate(self, _method, _body):
        return {"Implements": ["NetworkDriver", "IpamDriver"]}

    def GetCapabilities(self, method, _body):
        return {"Scope": "local"} if method.startswith("Network") else self.capabilities

    def CreateNetwork(self, _method, body):
        name = f"pl{body['NetworkID'][:8]}"
        self.networks[body["NetworkID"]] = name
        _batch(rtnetlink.create_bridge_request(name, mtu=0, mac="02:00:00:00:00:09"))
        index = socket.if_nametoindex(name)
        gateways = [pool["Gateway"] for pool in body["IPv4Data"] + body["IPv6Data"] if pool["Gateway"]]
        _batch(
            rtnetlink.set_link_request(index=index, up=True),
            *(rtnetlink.add_address_request(index, gateway) for gateway in gateways),
        )
        self.gateway = gateways[0].partition("/")[0] if gateways else ""
        return {}

    def DeleteNetwork(self, _method, body):
        name = self.networks.pop(body["NetworkID"], None)
        if name:
            _batch(rtnetlink.delete_link_request(name=name))
        return {}

    def CreateEndpoint(self, _method, body):
        if body["NetworkID"] not in self.networks:
            raise Refusal("no such network")
        self.endpoints[body["EndpointID"]] = f"pe{body['EndpointID'][:8]}"
        return {"Interface": {}}

    def Join(self, _method, body):
        name = self.endpoints[body["EndpointID"]]
        master = socket.if_nametoindex(self.networks[body["NetworkID"]])
        _batch(rtnetlink.create_veth_request(f"{name}h", f"{name}c", mtu=1400, master=master))
        self.joined.add(body["EndpointID"])
        names = {"SrcName": f"{name}c", "DstPrefix": "eth"}
        return {"InterfaceName": names, "Gateway": self.gateway, "StaticRoutes": None}

    def Leave(self, _method, body):
        if body["EndpointID"] not in self.joined:
            raise Refusal("no such endpoint")
        self.joined.discard(body["EndpointID"])
        return {}

    def DeleteEndpoint(self, _method, body):
        name = self.endpoints.pop(body["EndpointID"], None)
        if name is None:
            raise Refusal("no such endpoint")
        with contextlib.suppress(OSError):
            _batch(rtnetlink.delete_link_request(name=f"{name}h"))
        return {}

    def GetDefaultAddressSpaces(self, _method, _body):
        return {"LocalDefaultAddressSpace": SPACE, "GlobalDefaultAddressSpace": "everywhere"}

    def RequestPool(self, _method, body):
        pool = body["Pool"] or ("fd00:7::/64" if body["V6"] else "10.77.0.0/24")
        self.pools[f"id-{pool}"] = pool
        return {"PoolID": f"id-{pool}", "Pool": pool, "Data": {}}

    def ReleasePool(self, _method, body):
        del self.pools[body["PoolID"]]
        return {}

    def RequestAddress(self, _method, body):
        pool = ipaddress.ip_network(self.pools[body["PoolID"]])
        wanted = body["Address"]
        free = (address for address in pool.hosts() if str(address) not in self.taken)
        address = wanted or str(next(free))
        if address in self.taken:
            raise Refusal(f"{address} is taken")
        self.taken.add(address)
        return {"Address": f"{address}/{pool.prefixlen}"}

    def ReleaseAddress(self, _method, body):
        self.taken.discard(body["Address"])
        return {}
