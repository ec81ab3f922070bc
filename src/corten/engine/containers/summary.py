"""Containers as lists and inspect show them: the wire objects made of a record. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET

from corten.engine.containers.clock import human_duration, rfc3339
from corten.engine.containers.live import Container
from corten.engine.containers.oci_spec import NetworkFiles
from corten.engine.containers.record import ContainerRecord, MountRecord
from corten.engine.containers.status import ContainerStatus, Status
from corten.lib import codec
from corten.spec.docker import container as wire
from corten.spec.docker.hostconfig import OMIT_EMPTY
from corten.spec.docker.network import EndpointSettings

_HEALTH_WORDS = {"starting": "health: starting", "healthy": "healthy", "unhealthy": "unhealthy"}


def status_text(status: ContainerStatus, health: str, now_ns: int) -> str:
    """The Status column: `Up 3 seconds (healthy)`, `Exited (0) 2 minutes ago`."""
    state = status.status
    if state is Status.RESTARTING:
        ago = human_duration(now_ns - status.finished_ns)
        return f"Restarting ({status.exit_code}) {ago} ago"
    if state.has_process:
        up = f"Up {human_duration(now_ns - status.started_ns)}"
        if state is Status.PAUSED:
            return f"{up} (Paused)"
        word = _HEALTH_WORDS.get(health)
        return f"{up} ({word})" if word else up
    if state is Status.REMOVING:
        return "Removal In Progress"
    if state is Status.DEAD:
        return "Dead"
    if not status.started_ns:
        return "Created"
    if not status.finished_ns:
        return ""
    return f"Exited ({status.exit_code}) {human_duration(now_ns - status.finished_ns)} ago"


def command_text(record: ContainerRecord) -> str:
    """The Command column: arguments with blanks in single quotes."""
    return " ".join([record.path, *(f"'{arg}'" if " " in arg else arg for arg in record.args)])


def effective_networks(record: ContainerRecord) -> dict[str, EndpointSettings]:
    """The networks with what the container has in them, or, while it does not run, what it asked for."""
    if record.network_mode.startswith("container:"):
        return {}
    return {**record.networks, **record.attached}


def ports(record: ContainerRecord) -> list[wire.Port]:
    """Ports of a list row, by number."""
    rows = []
    for key, bindings in record.ports.items():
        number, _slash, protocol = key.partition("/")
        if not bindings:
            rows.append(wire.Port(private_port=int(number), type=protocol or "tcp"))
        rows += [
            wire.Port(
                ip=binding.host_ip,
                private_port=int(number),
                public_port=int(binding.host_port),
                type=protocol or "tcp",
            )
            for binding in bindings or ()
        ]
    return sorted(rows, key=lambda row: (row.private_port, row.type, str(row.ip)))


def mount_point(mount: MountRecord) -> wire.MountPoint:
    """A mount as inspect shows it; an image's or user's volume by its name."""
    return wire.MountPoint(
        type=mount.type,
        name=mount.name if mount.type == "volume" else UNSET,
        source=mount.source,
        destination=mount.destination,
        driver=mount.driver if mount.type == "volume" else UNSET,
        mode=mount.mode,
        rw=not mount.read_only,
        propagation=mount.propagation,
    )


def summary(container: Container, *, image: str, now_ns: int) -> wire.ContainerSummary:
    """A row of the list."""
    record = container.record
    health = container.health.status if container.health is not None else ""
    return wire.ContainerSummary(
        id=record.id,
        names=[f"/{record.name}"],
        image=image,
        image_id=record.image_id,
        command=command_text(record),
        created=record.created_ns // 1_000_000_000,
        ports=ports(record),
        labels=record.labels,
        state=str(record.status.status),
        status=status_text(record.status, health, now_ns),
        host_config=wire.SummaryHostConfig(
            network_mode=record.network_mode, annotations=record.host_config.annotations or UNSET
        ),
        network_settings=wire.SummaryNetworks(networks=effective_networks(record)),
        mounts=[mount_point(mount) for mount in record.mounts if mount.type != "tmpfs"],
    )


def state_of(container: Container) -> wire.ContainerState:
    """State of inspect."""
    status = container.record.status
    return wire.ContainerState(
        status=str(status.status),
        running=status.status.is_running,
        paused=status.status is Status.PAUSED,
        restarting=status.status is Status.RESTARTING,
        oom_killed=status.oom_killed,
        dead=status.status is Status.DEAD,
        pid=status.pid if status.status.has_process else 0,
        exit_code=status.exit_code,
        error=status.error,
        started_at=rfc3339(status.started_ns),
        finished_at=rfc3339(status.finished_ns),
        health=container.health if container.record.has_healthcheck and container.health is not None else UNSET,
    )


def _without_empty(document: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    for name in names:
        if not document.get(name):
            document.pop(name, None)
    return document


def network_settings(record: ContainerRecord) -> wire.NetworkSettings:
    """NetworkSettings of inspect; the addresses at its top are those on the default bridge."""
    settings = wire.NetworkSettings(ports=record.ports, networks=effective_networks(record))
    if record.status.status.has_process and not record.network_mode.startswith("container:"):
        settings.sandbox_id = record.id
        settings.sandbox_key = f"/proc/{record.status.pid}/ns/net"
    bridge = record.attached.get("bridge")
    if bridge is not None:
        settings.endpoint_id = bridge.endpoint_id
        settings.gateway = bridge.gateway
        settings.ip_address = bridge.ip_address
        settings.ip_prefix_len = bridge.ip_prefix_len
        settings.ipv6_gateway = bridge.ipv6_gateway
        settings.global_ipv6_address = bridge.global_ipv6_address
        settings.global_ipv6_prefix_len = bridge.global_ipv6_prefix_len
        settings.mac_address = bridge.mac_address
    return settings


def inspect(
    container: Container, *, files: NetworkFiles, driver: str, links: list[str] | None
) -> wire.ContainerInspect:
    """The whole of a container."""
    record = container.record
    host_config = {**codec.to_plain(record.host_config), "Links": links}
    return wire.ContainerInspect(
        id=record.id,
        created=rfc3339(record.created_ns),
        path=record.path,
        args=record.args,
        state=state_of(container),
        image=record.image_id,
        resolv_conf_path=files.resolv_conf if record.status.started_ns else "",
        hostname_path=files.hostname if record.status.started_ns else "",
        hosts_path=files.hosts if record.status.started_ns else "",
        log_path=record.log_path,
        name=f"/{record.name}",
        restart_count=record.status.restart_count,
        driver=driver,
        exec_ids=list(container.exec_ids) or None,
        host_config=_without_empty(host_config, OMIT_EMPTY),
        graph_driver=wire.DriverData(name=driver, data=None),
        mounts=[mount_point(mount) for mount in record.mounts if mount.type != "tmpfs"],
        config=_without_empty(codec.to_plain(record.config), wire.CONFIG_OMIT_EMPTY),
        network_settings=network_settings(record),
    )
