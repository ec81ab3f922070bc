"""Honest stand-ins for what the container use cases work with, and an engine assembled of them."""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corten.engine.containers.assembly import Assembled, assemble
from corten.engine.containers.collaborators import VolumeRef
from corten.engine.containers.settings import ContainerSettings
from corten.engine.events import Events
from corten.engine.images.catalog import ImageNotFound, ResolvedImage
from corten.engine.networks.host_resolv import HostResolvConf
from corten.engine.networks.settings import Attached
from corten.errors import NotFound
from corten.lib import codec
from corten.shim.client import Callbacks, Exit, Recovered, StartFailed
from corten.spec.docker.container import CreateRequest
from corten.spec.docker.network import EndpointSettings
from corten.spec.oci_image import Image, ImageConfig

BUSYBOX = "sha256:" + "b" * 64


class MemoryTable:
    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    def put(self, key: str, value: bytes, name: str = "") -> None:
        self.rows[key] = value

    def delete(self, key: str) -> None:
        self.rows.pop(key, None)

    def list(self) -> list[tuple[str, bytes]]:
        return list(self.rows.items())


class FakeImages:
    def __init__(self) -> None:
        self.config = ImageConfig(cmd=["sh"], env=["PATH=/bin", "IMAGE=1"], labels={"from": "image"})

    def resolve(self, reference: str) -> ResolvedImage:
        if reference not in ("busybox", "busybox:latest", BUSYBOX):
            raise ImageNotFound(f"No such image: {reference}:latest")
        image = Image(architecture="amd64", os="linux", config=self.config)
        return ResolvedImage(BUSYBOX, "busybox:latest", image, "sha256:" + "c" * 64)


class FakeSnapshots:
    """Layers are directories; the root is one directory with an /etc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layers: set[str] = set()
        self.reads = 0
        (root / "base/etc").mkdir(parents=True)
        (root / "base/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:/bin/sh\n")
        (root / "base/etc/group").write_text("root:x:0:\nwheel:x:10:root\nweb:x:34:\nextra:x:50:www\n")

    def prepare(self, key: str, parent: str) -> dict[str, Any]:
        (self.root / key).mkdir()
        self.layers.add(key)
        return self.rootfs(key)

    def rootfs(self, key: str) -> dict[str, Any]:
        if key not in self.layers:
            raise NotFound(key)
        return {"type": "overlay", "dir": str(self.root), "lower": ["base"], "upper": key, "work": "w"}

    def remove(self, key: str) -> None:
        self.layers.discard(key)

    def purge(self) -> None:
        """Nothing is kept back here."""

    def usage(self, key: str) -> int:
        return 11

    def root_fd(self, key: str, *, writable: bool = True) -> int:
        self.reads += 1
        return os.open(self.root / "base", os.O_RDONLY | os.O_DIRECTORY)

    def keys(self) -> list[str]:
        return sorted(self.layers)


class FakeNetworks:
    def __init__(self) -> None:
        self.attached: dict[str, Any] = {}
        self.failure: Exception | None = None

    def check(self, request: Any) -> None:
        for name in request.endpoints:
            if name not in ("bridge", "none", "host", "mine"):
                raise NotFound(f"network {name} not found")

    async def attach(self, cid: str, request: Any, pid: int) -> Attached:
        if self.failure is not None:
            raise self.failure
        self.attached[cid] = request
        settings = {name: EndpointSettings(ip_address="172.17.0.2", gateway="172.17.0.1") for name in request.endpoints}
        return Attached(interfaces=[{"name": "eth0"}], settings=settings, addresses=["172.17.0.2"])

    async def release(self, cid: str) -> None:
        self.attached.pop(cid, None)

    async def withdraw(self, cid: str, *, drain: bool) -> None:
        assert cid

    def restore(self, cid: str) -> None:
        assert cid

    def host_gateways(self) -> list[str]:
        return ["172.17.0.1"]


class FakeVolumes:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: set[str] = set()
        self.mounted: set[tuple[str, str]] = set()

    async def ensure(self, name: str, *, driver="", options=None, labels=None, anonymous=False) -> VolumeRef:
        self.known.add(name)
        (self.root / name).mkdir(parents=True, exist_ok=True)
        return VolumeRef(name, driver or "local", str(self.root / name))

    async def mount(self, name: str, cid: str, *, destination: str, read_only: bool) -> str:
        self.mounted.add((name, cid))
        return str(self.root / name)

    def adopt(self, name: str, cid: str) -> None:
        self.mounted.add((name, cid))

    async def release(self, name: str, cid: str) -> None:
        self.mounted.discard((name, cid))

    async def remove(self, name: str) -> None:
        self.known.remove(name)


@dataclass(eq=False)
class FakeShim:
    """A shim whose process ends when the test says so, or by a signal that it obeys."""

    cid: str
    pool: FakeShims
    pid: int
    spec: dict[str, Any]
    obeys: tuple[int, ...] = (9, 15)
    execs: dict[str, int] = field(default_factory=dict)
    signals: list[int] = field(default_factory=list)
    attached: list[dict[str, Any]] = field(default_factory=list)
    request: Any = None
    released: bool = False
    exec_codes: dict[str, int] = field(default_factory=dict)
    sizes: list[tuple[int, int, str]] = field(default_factory=list)

    async def start(self, request: Any) -> None:
        if self.pool.failure is not None:
            raise self.pool.failure
        self.request = request
        self.pool.running[self.cid] = self

    def exit(self, code: int, *, oom: bool = False) -> None:
        if self.pool.running.pop(self.cid, None) is not None:
            self.pool.callbacks.on_exit(self.cid, Exit(code=code, oom_killed=oom, finished_ns=time.time_ns()))

    async def signal(self, number: int, *, exec_id: str = "") -> None:
        if exec_id:
            self.finish_exec(exec_id, 128 + number)
            return
        self.signals.append(number)
        if number in self.obeys:
            self.exit(128 + number)

    async def exec(self, exec_id: str, *, process: dict[str, Any], open_stdin: bool, seccomp_path: str = "") -> int:
        name = process["args"][0]
        if name == "nosuch":
            raise StartFailed("exec", 2, 'exec: "nosuch": executable file not found in $PATH')
        self.execs[exec_id] = 4242
        self.pool.processes[exec_id] = process
        if self.pool.on_exec is not None:
            self.pool.on_exec(self, exec_id, process)
        return 4242

    def finish_exec(self, exec_id: str, code: int, output: bytes = b"") -> None:
        for entry in self.attached:
            if entry["exec_id"] == exec_id:
                if output:
                    entry["socket"].sendall(bytes((1, 0, 0, 0)) + len(output).to_bytes(4, "big") + output)
                entry["socket"].close()
        self.execs.pop(exec_id, None)
        self.pool.callbacks.on_exec_exit(self.cid, exec_id, code)

    async def attach(self, fd: int, *, exec_id: str = "", **options: Any) -> None:
        self.attached.append({"socket": socket.socket(fileno=os.dup(fd)), "exec_id": exec_id, **options})

    async def resize(self, width: int, height: int, *, exec_id: str = "") -> None:
        self.sizes.append((width, height, exec_id))

    async def sync(self) -> None:
        """Callbacks here are synchronous already."""

    def release(self) -> None:
        self.released = True
        for entry in self.attached:
            entry["socket"].close()
        self.pool.shims.pop(self.cid, None)

    async def discard(self) -> None:
        self.release()


class FakeShims:
    def __init__(self) -> None:
        self.callbacks: Callbacks
        self.shims: dict[str, FakeShim] = {}
        self.running: dict[str, FakeShim] = {}
        self.forgotten: list[str] = []
        self.cleared: list[str] = []
        self.failure: StartFailed | None = None
        self.found: list[Recovered] = []
        self.processes: dict[str, dict[str, Any]] = {}
        self.on_exec: Any = None
        self._pid = 1000

    def new_id(self) -> str:
        return secrets.token_hex(32)

    async def prepare(self, cid: str, *, spec: dict[str, Any]) -> FakeShim:
        self._pid += 1
        self.shims[cid] = FakeShim(cid, self, self._pid, spec)
        return self.shims[cid]

    async def forget(self, cid: str) -> None:
        self.forgotten.append(cid)

    def get(self, cid: str) -> FakeShim | None:
        return self.shims.get(cid)

    def cgroup_path(self, cid: str) -> str:
        return f"/corten-test/{cid}"

    def clear(self, cid: str) -> None:
        self.cleared.append(cid)

    async def recover(self) -> list[Recovered]:
        return self.found


class FakeCgroup:
    def __init__(self, pool: FakeShims, path: str, log: list[tuple[str, Any]]) -> None:
        self._cid = path.rpartition("/")[2]
        self._pool = pool
        self._log = log

    def apply(self, resources: Any) -> None:
        self._log.append(("apply", resources))

    def freeze(self) -> None:
        self._log.append(("freeze", None))

    def thaw(self) -> None:
        self._log.append(("thaw", None))

    def kill(self) -> None:
        self._log.append(("kill", None))

    def remove(self) -> None:
        self._log.append(("remove", None))


class FakeEngine:
    """Everything about containers over stand-ins, on a directory of its own. `again` is a daemon that starts anew."""

    def __init__(self, root: Path, old: FakeEngine | None = None) -> None:
        self.root = root
        self.settings = ContainerSettings(data_root=root / "data", exec_root=root / "run", cpus=4)
        self.table = old.table if old else MemoryTable()
        self.images = FakeImages()
        self.snapshots = old.snapshots if old else FakeSnapshots(root / "snapshots")
        self.networks = FakeNetworks()
        self.volumes = old.volumes if old else FakeVolumes(root / "volumes")
        self.shims = FakeShims()
        self.events = Events()
        self.cgroup_log: list[tuple[str, Any]] = []
        self.parts: Assembled = assemble(
            settings=self.settings,
            table=self.table,
            images=self.images,
            snapshots=self.snapshots,
            networks=self.networks,
            volumes=self.volumes,
            shims=self.shims,
            events=self.events,
            host_resolv=HostResolvConf(),
            cgroups=lambda path: FakeCgroup(self.shims, path, self.cgroup_log),
        )
        self.shims.callbacks = self.parts.callbacks(on_warm=lambda _c, _p: None, on_cold=lambda _c: None)
        self.service = self.parts.service

    def again(self) -> FakeEngine:
        return FakeEngine(self.root, self)

    async def create(self, name: str = "", platform: str = "", **body: Any) -> str:
        request = codec.decode(CreateRequest, codec.encode({"Image": "busybox", **body}))
        return (await self.service.create(name, request, platform)).id

    async def run(self, name: str = "", **body: Any) -> tuple[str, FakeShim]:
        cid = await self.create(name, **body)
        await self.service.start(cid)
        return cid, self.shims.running[cid]

    async def settle(self) -> None:
        await self.parts.tasks.settle()

    def state(self, cid: str) -> Any:
        return self.parts.registry.find(cid).record.status

    def actions(self, kind: str = "container") -> list[str]:
        return [event.action for event in self.events.past() if event.kind == kind]
