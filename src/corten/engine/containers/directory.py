"""The containers as other services see them: networks, volumes, images. Daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import msgspec

from corten.engine.containers.announce import announce
from corten.engine.containers.create import egress_rules
from corten.engine.containers.netfiles import NetworkFileWriter
from corten.engine.containers.registry import Registry
from corten.engine.containers.status import Status
from corten.engine.events import Events
from corten.engine.networks.settings import ContainerView
from corten.errors import NotFound
from corten.lib import blocking
from corten.spec.docker.network import EndpointSettings


class Directory:
    """Implements networks' ContainerDirectory, volumes' VolumeUsers and images' ContainerUse."""

    def __init__(self, registry: Registry, files: NetworkFileWriter, events: Events) -> None:
        self._registry = registry
        self._files = files
        self._events = events

    def view(self, reference: str) -> ContainerView:
        """By name, id or prefix. Raises NotFound `No such container: x`."""
        record = self._registry.find(reference).record
        running = record.status.status.has_process
        return ContainerView(
            id=record.id,
            name=record.name,
            mode=record.network_mode,
            pid=record.status.pid if running else 0,
            hostname=record.config.hostname,
            networks=dict(record.attached if running else record.networks),
            dns=self._files.name_servers(record),
            checked=record.has_healthcheck,
            egress=egress_rules(record.host_config),
        )

    async def set_endpoint(
        self, cid: str, network: str, settings: EndpointSettings | None, *, resolver: bool = False
    ) -> None:
        """Record that a container is in a network (None: no longer), and tell a running one in its files. With
        `resolver` the embedded name server serves it from now on."""
        container = self._registry.find(cid)
        async with container.lock:
            if container.record.status.status.has_process:
                place = container.record.attached.get(network)
                if settings is not None:
                    await blocking.run(self._files.joined, container, settings, resolver=resolver)
                elif place is not None:
                    await blocking.run(self._files.left, container, place)
            record = container.record
            networks, attached = dict(record.networks), dict(record.attached)
            networks.pop(network, None)
            attached.pop(network, None)
            if settings is not None:
                networks[network] = _asked(settings)
                if record.status.status.has_process:
                    attached[network] = settings
            self._registry.save(container, msgspec.structs.replace(record, networks=networks, attached=attached))

    def using(self, network_id: str, name: str) -> list[str]:
        """Names of containers, running or not, that are configured for a network."""
        return [
            container.name
            for container in self._registry
            if name in container.record.networks
            or network_id in container.record.networks
            or any(settings.network_id == network_id for settings in container.record.attached.values())
        ]

    def announce(self, cid: str, action: str, about: Mapping[str, str]) -> None:
        """Publish an event of a container, with its own attributes and these."""
        with contextlib.suppress(NotFound):  # removed meanwhile
            announce(self._events, self._registry.find(cid).record, action, **about)

    def counts(self) -> tuple[int, int, int]:
        """(running, paused, stopped), for `info`."""
        states = [container.record.status.status for container in self._registry]
        paused = sum(state is Status.PAUSED for state in states)
        running = sum(state.is_running for state in states) - paused
        return running, paused, len(states) - running - paused

    def volume_users(self, name: str) -> list[str]:
        """Ids of containers, running or not, that have a volume."""
        return [
            container.id
            for container in self._registry
            if any(mount.type == "volume" and mount.name == name for mount in container.record.mounts)
        ]

    def uses(self, image_id: str) -> Sequence[tuple[str, bool, str]]:
        """The containers of an image: id, whether it runs, the name the image was asked for by."""
        return [
            (container.id, container.record.status.status.is_running, container.record.config.image)
            for container in self._registry
            if container.record.image_id == image_id
        ]


def _asked(settings: EndpointSettings) -> EndpointSettings:
    """The part of an endpoint that outlives a run."""
    return EndpointSettings(
        ipam_config=settings.ipam_config,
        links=settings.links,
        aliases=settings.aliases,
        driver_opts=settings.driver_opts,
        gw_priority=settings.gw_priority,
    )
