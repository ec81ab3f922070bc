"""An image's defaults under a container's config, by Docker's rules: pure."""

from __future__ import annotations

from corten.engine.containers.record import command_of
from corten.errors import InvalidArgument
from corten.spec.docker import messages
from corten.spec.docker.container import ContainerConfig, HealthConfig
from corten.spec.docker.hostconfig import str_slice
from corten.spec.oci_image import Healthcheck, ImageConfig


def merge_image(config: ContainerConfig, image: ImageConfig) -> None:
    """Fill what `config` leaves open; it is changed. Raises InvalidArgument when no command is left."""
    config.cmd, config.entrypoint = str_slice(config.cmd), str_slice(config.entrypoint)
    config.shell = str_slice(config.shell) or image.shell
    config.user = config.user or image.user
    config.working_dir = config.working_dir or image.working_dir
    config.stop_signal = config.stop_signal or image.stop_signal
    config.exposed_ports = {**(image.exposed_ports or {}), **(config.exposed_ports or {})} or None
    config.volumes = {**(image.volumes or {}), **(config.volumes or {})} or None
    config.labels = {**(image.labels or {}), **(config.labels or {})}
    config.env = _merge_env(config.env or [], image.env or [])
    config.healthcheck = merge_health(config.healthcheck, image.healthcheck)
    if not config.entrypoint:
        config.cmd = config.cmd or image.cmd
        if config.entrypoint is None:
            config.entrypoint = image.entrypoint
    if config.entrypoint == [""]:  # `--entrypoint ""`: none, not even the image's
        config.entrypoint = None
    if not command_of(config):
        raise InvalidArgument(messages.NO_COMMAND)


def _merge_env(own: list[str], image: list[str]) -> list[str]:
    names = {item.partition("=")[0] for item in own}
    return [*own, *(item for item in image if item.partition("=")[0] not in names)]


def merge_health(own: HealthConfig | None, image: Healthcheck | None) -> HealthConfig | None:
    """Each part that the container leaves open comes from the image."""
    if image is None:
        return own
    if own is None:
        own = HealthConfig()
    return HealthConfig(
        test=own.test or image.test,
        interval=own.interval or image.interval,
        timeout=own.timeout or image.timeout,
        retries=own.retries or image.retries,
        start_period=own.start_period or image.start_period,
        start_interval=own.start_interval or image.start_interval,
    )
