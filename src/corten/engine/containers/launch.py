"""From a record to what a start needs: identity, security, devices, namespaces, and the OCI spec made of them. Daemon.

On the path of every start: nothing here mounts or waits, but for the first start from an image (its accounts are read)
and containers that changed their /etc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corten.engine.containers import cdi, devices
from corten.engine.containers.links import links_of, variables
from corten.engine.containers.live import Container
from corten.engine.containers.namespaces import hostname_of, namespaces_of
from corten.engine.containers.netfiles import NetworkFileWriter
from corten.engine.containers.oci_spec import SpecInputs, build_spec
from corten.engine.containers.record import ContainerRecord, MountRecord
from corten.engine.containers.registry import Registry
from corten.engine.containers.resources import oci_resources, rlimits
from corten.engine.containers.security import SeccompFilters, parse_security_options
from corten.engine.containers.settings import ContainerSettings
from corten.engine.containers.shared_memory import shm_source
from corten.engine.containers.users import AccountFiles, Identity, resolve_user
from corten.lib import blocking
from corten.security.capabilities import effective_caps


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A spec and what goes with it."""

    spec: dict[str, Any]
    seccomp_path: str
    hostname: str
    cgroup: str


class Launcher:
    """Makes Launches."""

    def __init__(
        self,
        *,
        settings: ContainerSettings,
        registry: Registry,
        accounts: AccountFiles,
        seccomp: SeccompFilters,
        files: NetworkFileWriter,
        cdi_devices: cdi.CdiDevices,
    ) -> None:
        self._settings = settings
        self._cdi = cdi_devices
        self._registry = registry
        self.accounts = accounts
        self._seccomp = seccomp
        self._files = files

    async def prepare(
        self, container: Container, rootfs: Mapping[str, Any], mounts: Sequence[MountRecord], cgroup: str
    ) -> Launch:
        """Everything but the network. Raises InvalidArgument, NotFound, Conflict."""
        record = container.record
        host = record.host_config
        find = self._registry.find
        options = parse_security_options(host.security_opt or (), no_new_privileges=self._settings.no_new_privileges)
        capabilities = capabilities_of(record)
        nodes, rules = devices.gather(host)
        edits = None
        if names := cdi.names_of(host.device_requests or ()):
            edits = await blocking.run(self._cdi.edits, names)
            more_nodes, more_rules = await blocking.run(cdi.device_nodes, edits)
            nodes, rules = [*nodes, *more_nodes], [*rules, *more_rules]
            mounts = [*mounts, *cdi.mount_records(edits)]
        hostname = hostname_of(host, record.config.hostname, record.id, find)
        inputs = SpecInputs(
            record=record,
            identity=await self.identity(record, rootfs),
            capabilities=capabilities,
            namespaces=namespaces_of(host, find),
            cgroup_path=cgroup,
            hostname=hostname,
            linked=self.linked(container),
            hidden_env=container.hidden_env,
            resources=oci_resources(host, default_pids=self._settings.default_pids_limit),
            devices=nodes,
            device_rules=rules,
            rlimits=self.rlimits(record),
            files=self._files.paths(container),
            mounts=mounts,
            masked_paths=host.masked_paths or (),
            readonly_paths=host.readonly_paths or (),
            no_new_privileges=options.no_new_privileges,
            shm_source=shm_source(self._settings, record, find),
        )
        path = self._seccomp.path(options, capabilities, tty=record.config.tty, privileged=host.privileged)
        spec = build_spec(inputs)
        if edits is not None:
            cdi.apply(edits, spec)
        return Launch(spec=spec, seccomp_path=path, hostname=hostname, cgroup=cgroup)

    @property
    def find(self) -> Callable[[str], Container]:
        """Containers by reference."""
        return self._registry.find

    @property
    def no_new_privileges(self) -> bool:
        """The daemon's default."""
        return self._settings.no_new_privileges

    def linked(self, container: Container) -> list[str]:
        """The variables of `--link`. Raises InvalidArgument, NotFound."""
        links = links_of(container, self._registry.find)
        return [text for link in links for text in variables(container.name, link)]

    def rlimits(self, record: ContainerRecord) -> list[dict[str, Any]]:
        """OCI process.rlimits."""
        return rlimits(record.host_config.ulimits, self._settings.default_ulimits)

    async def identity(self, record: ContainerRecord, rootfs: Mapping[str, Any]) -> Identity:
        """The ids of the container's process. Raises InvalidArgument."""
        accounts = self.accounts.cached(record.image_id, rootfs)
        if accounts is None:
            accounts = await blocking.run(self.accounts.read, record.id, record.image_id, rootfs)
        return resolve_user(record.config.user, record.host_config.group_add or (), accounts)

    def seccomp_path(self, record: ContainerRecord, *, tty: bool) -> str:
        """The filter of an exec: as the container's, whose capabilities decide."""
        options = parse_security_options(record.host_config.security_opt or ())
        privileged = record.host_config.privileged
        return self._seccomp.path(options, capabilities_of(record), tty=tty, privileged=privileged)


def capabilities_of(record: ContainerRecord) -> list[str]:
    """OCI names of what the container may do."""
    host = record.host_config
    return effective_caps(host.cap_add_list, host.cap_drop_list, host.privileged)


def cgroup_path(record: ContainerRecord, default: str) -> str:
    """Where the container's cgroup is: below `--cgroup-parent`, or where the daemon has all of them."""
    parent = record.host_config.cgroup_parent.strip("/")
    return f"/{parent}/{record.id}" if parent else default
