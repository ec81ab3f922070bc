"""What the container use cases need of the rest of the engine: small Protocols, given their implementations by wire.py.

Calls without `async` take well under a millisecond and run on the loop; what may take longer is async, or is called
through `lib.blocking.run` and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from corten.engine.networks.settings import Attached, AttachRequest
from corten.shim.client import Recovered, StartRequest
from corten.spec.oci_image import Image


class ResolvedImage(Protocol):
    """An image that a container can be made of."""

    @property
    def id(self) -> str:
        """The image id, `sha256:...`."""

    @property
    def config(self) -> Image:
        """Its configuration document."""

    @property
    def chain_id(self) -> str:
        """The chainID of its topmost layer."""


class Images(Protocol):
    """The images of this engine."""

    def resolve(self, reference: str) -> ResolvedImage:
        """By name, id or id prefix. Raises NotFound `No such image: x:tag`."""


class Snapshots(Protocol):
    """The writable layers. `prepare`, `rootfs`, `keys` and `remove` are quick; the rest is called in threads."""

    def prepare(self, key: str, parent: str) -> dict[str, Any]:
        """A new writable layer upon the chain `parent`; returns its RootfsMount as JSON."""

    def rootfs(self, key: str) -> dict[str, Any]:
        """The RootfsMount of an existing layer, as JSON."""

    def remove(self, key: str) -> None:
        """Give it up; a missing one is no error. `purge` deletes the files."""

    def purge(self) -> None:
        """Delete what was given up."""

    def usage(self, key: str) -> int:
        """Bytes in the writable layer."""

    def root_fd(self, key: str, *, writable: bool = True) -> int:
        """A detached mount of the whole root; the caller closes it. A running container's only with writable=False."""

    def keys(self) -> Sequence[str]:
        """All writable layers that exist."""


class Networks(Protocol):
    """Networks, as containers use them (engine/networks)."""

    def check(self, request: AttachRequest) -> None:
        """What create can refuse already."""

    async def attach(self, cid: str, request: AttachRequest, pid: int) -> Attached:
        """Put a container that is about to start into its networks."""

    async def release(self, cid: str) -> None:
        """The container ended, or its sandbox is given up; idempotent."""

    async def withdraw(self, cid: str, *, drain: bool) -> None:
        """It is going to be stopped: services send nothing new to it, and with `drain` what it has may come to its
        end. Nothing for one that is in no service."""

    def restore(self, cid: str) -> None:
        """It goes on: what `withdraw` has changed is as before."""

    def host_gateways(self) -> list[str]:
        """What `host-gateway` stands for."""


@dataclass(frozen=True, slots=True)
class VolumeRef:
    """A volume that exists."""

    name: str
    driver: str
    mountpoint: str


class Volumes(Protocol):
    """Volumes, as containers use them (engine/volumes). Who uses a volume is told by `Directory.volume_users`."""

    async def ensure(
        self,
        name: str,
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        anonymous: bool = False,
    ) -> VolumeRef:
        """The volume of that name, made if it is not there."""

    async def mount(self, name: str, cid: str, *, destination: str, read_only: bool) -> str:
        """The container starts with it; returns the directory. Publishes `volume mount`."""

    def adopt(self, name: str, cid: str) -> None:
        """After a restart of the daemon: a running container has it."""

    async def release(self, name: str, cid: str) -> None:
        """The container ended. Publishes `volume unmount`."""

    async def remove(self, name: str) -> None:
        """`docker rm -v`. Raises NotFound, Conflict (in use)."""


class ShimHandle(Protocol):
    """One container's shim (shim.client.Shim)."""

    pid: int
    execs: dict[str, int]

    async def start(self, request: StartRequest) -> None:
        """Run the container's process. Raises StartFailed."""

    async def exec(self, exec_id: str, *, process: dict[str, Any], open_stdin: bool, seccomp_path: str = "") -> int:
        """Start a process inside; returns its pid. Raises StartFailed."""

    async def attach(
        self,
        fd: int,
        *,
        exec_id: str = "",
        stdin: bool,
        stdout: bool,
        stderr: bool,
        stream: bool = True,
        logs: bool = False,
        preface: bytes = b"",
        detach_keys: str = "",
    ) -> None:
        """Hand a client's connection over; `fd` stays the caller's."""

    async def resize(self, width: int, height: int, *, exec_id: str = "") -> None:
        """Set a terminal's size."""

    async def signal(self, number: int, *, exec_id: str = "") -> None:
        """Signal init, or one exec."""

    async def sync(self) -> None:
        """All events that happened before are delivered."""

    def release(self) -> None:
        """After the exit, or a failed start: the shim ends on its own."""

    async def discard(self) -> None:
        """`release`, and wait until it has ended."""


class ShimPool(Protocol):
    """All shims (shim.client.Shims)."""

    def new_id(self) -> str:
        """A fresh container id."""

    async def prepare(self, cid: str, *, spec: dict[str, Any]) -> ShimHandle:
        """The sandbox for a container that starts."""

    async def forget(self, cid: str) -> None:
        """A created container is removed before it was started."""

    def get(self, cid: str) -> ShimHandle | None:
        """The shim of a running container."""

    def cgroup_path(self, cid: str) -> str:
        """The default cgroup path of a container."""

    def clear(self, cid: str) -> None:
        """The exit that `recover` found is recorded."""

    async def recover(self) -> Sequence[Recovered]:
        """What an earlier daemon left."""


class CgroupControl(Protocol):
    """The cgroup of a running container (linux.cgroup.Cgroup)."""

    def apply(self, resources: Mapping[str, Any]) -> None:
        """Set what OCI linux.resources names."""

    def freeze(self) -> None:
        """Stop all processes in it."""

    def thaw(self) -> None:
        """Let them go on."""

    def kill(self) -> None:
        """SIGKILL to all processes in it."""

    def remove(self) -> None:
        """Remove it."""


class Table(Protocol):
    """A table of the daemon's database (store.db.RecordTable)."""

    def put(self, key: str, value: bytes, name: str = "") -> None:
        """Store."""

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error."""

    def list(self) -> Any:
        """All (key, value)."""
