"""What is recorded of a container: what was asked (immutable but for rename, update, connect), and its status. Daemon.

A record is one JSON row. Everything that lives only as long as the daemon is in `live.py`.
"""

from __future__ import annotations

import msgspec

from corten.engine.containers.status import ContainerStatus
from corten.spec.docker.container import ContainerConfig
from corten.spec.docker.hostconfig import HostConfig, str_slice
from corten.spec.docker.network import EndpointSettings, PortMap

_HEALTH_NONE = "NONE"


class MountRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mount: type bind, volume or tmpfs. `source` is a path of the host, or empty for tmpfs."""

    type: str
    destination: str
    source: str = ""
    name: str = ""
    driver: str = ""
    mode: str = ""
    read_only: bool = False
    propagation: str = ""
    recursive: bool = True
    read_only_recursive: bool = True
    must_exist: bool = True
    copy_up: bool = False
    anonymous: bool = False
    options: tuple[str, ...] = ()
    # how inspect and volumes-from know the mount: given by the user, not by the image
    from_spec: bool = False


class ContainerRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A container. `networks` is what was asked of each; `attached` and `ports` what it has while it runs.

    `owner` is the work of this daemon that it belongs to, such as a build; empty: a client's. What a daemon that ended
    has left of such work is removed at the next start.
    """

    id: str
    name: str
    created_ns: int
    image_id: str
    chain_id: str
    config: ContainerConfig
    host_config: HostConfig
    path: str
    args: list[str]
    mounts: tuple[MountRecord, ...] = ()
    networks: dict[str, EndpointSettings] = {}
    attached: dict[str, EndpointSettings] = {}
    ports: PortMap = {}
    log_path: str = ""
    status: ContainerStatus = ContainerStatus()
    owner: str = ""

    @property
    def argv(self) -> list[str]:
        """The command."""
        return [self.path, *self.args]

    @property
    def labels(self) -> dict[str, str]:
        """The labels, never None."""
        return self.config.labels or {}

    @property
    def network_mode(self) -> str:
        """How it is networked: a network's name, none, host or container:<id>."""
        return self.host_config.network_mode or "bridge"

    @property
    def has_healthcheck(self) -> bool:
        """Whether probes are run."""
        check = self.config.healthcheck
        return bool(check and check.test and check.test[0] != _HEALTH_NONE)

    def with_status(self, **changes: object) -> ContainerRecord:
        """The record after a change of status."""
        return msgspec.structs.replace(self, status=msgspec.structs.replace(self.status, **changes))


def command_of(config: ContainerConfig) -> list[str]:
    """Entrypoint and command as one list."""
    return [*(str_slice(config.entrypoint) or []), *(str_slice(config.cmd) or [])]
