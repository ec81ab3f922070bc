"""What `create` refuses, and the defaults it writes into a HostConfig: Docker's rules and texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import UNSET

from corten.engine.containers.cdi import check_request
from corten.engine.containers.devices import check_mapping
from corten.engine.containers.logconfig import check_log_config
from corten.engine.containers.resources import check_resources, fill_defaults
from corten.engine.containers.restart import check_policy
from corten.engine.containers.security import parse_security_options
from corten.engine.containers.settings import ContainerSettings
from corten.engine.containers.signals import parse_signal
from corten.errors import InvalidArgument
from corten.network import egress, hosts_files
from corten.security.capabilities import validate as check_capabilities
from corten.security.defaults import READONLY_PATHS, masked_paths
from corten.spec.docker.container import ContainerConfig, HealthConfig
from corten.spec.docker.hostconfig import HostConfig, LogConfig, RestartPolicy

_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62})?(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,62})?)*\Z")
_CGROUP_PARENT = re.compile(r"[A-Za-z0-9_.:/@-]+\Z")
_MODES = {
    "pid_mode": ("invalid PID mode: {0}", ("", "host")),
    "uts_mode": ("invalid UTS mode: {0}", ("", "host")),
    "userns_mode": ("invalid userns mode: {0}", ("", "host")),
    "cgroupns_mode": ("invalid cgroup namespace mode: {0}", ("", "host", "private")),
    "ipc_mode": ("invalid IPC mode: {0}", ("", "host", "none", "private", "shareable")),
}
_NO_LINKS = "conflicting options: {0} can't be used with links. This would result in undefined behavior"
_SHARING = ("pid_mode", "ipc_mode")
_MILLISECOND = 1_000_000
_MAX_STRINGS = 1 << 20


def fill_host_defaults(host: HostConfig, settings: ContainerSettings) -> None:
    """Write in what was left open, as inspect shows it."""
    fill_defaults(host)
    if host.network_mode in ("", "default"):
        host.network_mode = "bridge"
    if host.shm_size == 0:
        host.shm_size = settings.default_shm_bytes
    host.ipc_mode = host.ipc_mode or settings.default_ipc
    host.cgroupns_mode = host.cgroupns_mode or ("host" if host.privileged else settings.default_cgroupns)
    host.runtime = host.runtime or settings.default_runtime
    if not host.restart_policy.name:
        host.restart_policy = RestartPolicy(name="no")
    if not host.log_config.type:
        host.log_config = settings.log_config
    if host.log_config.config is None:
        host.log_config = LogConfig(type=host.log_config.type, config={})
    host.port_bindings = host.port_bindings or {}
    host.cap_add, host.cap_drop = host.cap_add_list or None, host.cap_drop_list or None
    host.console_size = host.console_size or [0, 0]
    if host.init is None and settings.default_init:
        host.init = True
    options = parse_security_options(host.security_opt or ())
    unconfined = host.privileged or options.systempaths_unconfined
    if host.masked_paths is None:
        host.masked_paths = [] if unconfined else list(masked_paths())
    if host.readonly_paths is None:
        host.readonly_paths = [] if unconfined else list(READONLY_PATHS)


def take_egress_label(host: HostConfig, config: ContainerConfig) -> None:
    """An egress list may come as a label, from clients that have no field for it; the field goes first. Raises
    InvalidArgument."""
    label = (config.labels or {}).get(egress.LABEL)
    if (host.egress is None or host.egress is UNSET) and label is not None:
        host.egress = [label]
    if host.egress is None or host.egress is UNSET:
        host.egress = UNSET
        return
    egress.parse_rules(host.egress)
    host.egress = egress.split_rules(host.egress)
    if host.network_mode.startswith("container:"):
        raise InvalidArgument(
            "conflicting options: egress list and the container type network mode: the list of the container whose "
            "network namespace it is holds for all in it"
        )


def check_config(config: ContainerConfig) -> None:
    """Raises InvalidArgument."""
    _check_strings(
        [
            *(config.env or ()),
            *(config.cmd or ()),
            *(config.entrypoint or ()),
            config.user,
            config.working_dir,
            config.domainname,
            config.hostname,
        ]
    )
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )
    for item in config.env or ():
        if not item or item.startswith("="):
            raise InvalidArgument(f"invalid environment variable: {item[:64]}")
    if config.hostname and (len(config.hostname) > 253 or not _HOSTNAME.match(config.hostname)):
        raise InvalidArgument(f"invalid hostname format: {config.hostname[:64]!r}")
    if config.domainname:
        hosts_files.check_host_name(config.domainname)
    if config.stop_signal:
        parse_signal(config.stop_signal)
    if config.stop_timeout is not None and config.stop_timeout < -1:
        raise InvalidArgument(f"invalid stop timeout: {config.stop_timeout}")
    if config.healthcheck is not None:
        check_health(config.healthcheck)


def _check_strings(values: Iterable[str]) -> None:
    total = 0
    for value in values:
        total += len(value)
        if "\0" in value:
            raise InvalidArgument("invalid configuration: strings cannot contain a null byte")
    if total > _MAX_STRINGS:
        raise InvalidArgument("invalid configuration: command and environment are longer than the kernel takes")


def check_health(check: HealthConfig) -> None:
    """Raises InvalidArgument."""
    for name, value in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if value != 0 and value < _MILLISECOND:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    if check.test and check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(f'Unknown healthcheck type "{check.test[0][:32]}" (expected NONE, CMD or CMD-SHELL)')


def check_host(host: HostConfig, config: ContainerConfig, settings: ContainerSettings) -> None:
    """Raises InvalidArgument."""
    check_resources(host, cpus=settings.cpus)
    check_policy(host.restart_policy, auto_remove=host.auto_remove)
    check_capabilities(host.cap_add_list, host.cap_drop_list)
    check_log_config(host.log_config)
    parse_security_options(host.security_opt or ())
    _check_namespaces(host, config)
    for mapping in host.devices or ():
        check_mapping(mapping)
    for request in host.device_requests or ():
        check_request(request)
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if host.shm_size < 0:
        raise InvalidArgument("SHM size can not be less than 0")
    if host.runtime and host.runtime not in settings.runtimes:
        raise InvalidArgument(f"unknown or invalid runtime name: {host.runtime[:64]}")
    if host.storage_opt:
        raise InvalidArgument("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
    if host.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation '{host.isolation[:32]}' on linux")
    if host.cgroup_parent and (".." in host.cgroup_parent or not _CGROUP_PARENT.match(host.cgroup_parent)):
        raise InvalidArgument(f"invalid cgroup parent: {host.cgroup_parent[:64]!r}")
    _check_files(host)


def warnings_of(host: HostConfig) -> list[str]:
    """What create lets pass and tells."""
    if host.network_mode == "host" and host.port_bindings:
        return ["Published ports are discarded when using host network mode"]
    return []


def _check_files(host: HostConfig) -> None:
    hosts_files.check_dns(host.dns or (), host.dns_search or (), host.dns_options or ())
    for text in host.extra_hosts or ():
        hosts_files.parse_extra_host(text)
    _check_strings([*(host.sysctls or {}), *(host.sysctls or {}).values()])


def _check_namespaces(host: HostConfig, config: ContainerConfig) -> None:
    for name, (text, allowed) in _MODES.items():
        mode: str = getattr(host, name)
        kind, _colon, other = mode.partition(":")
        if mode in allowed or (name in _SHARING and kind == "container" and other):
            continue
        raise InvalidArgument(text.format(mode[:64]))
    mode = host.network_mode
    if mode == "container:":
        raise InvalidArgument("Invalid network mode: invalid container format container:<name|id>")
    if mode.startswith("container:"):
        _check_joined(host, config)
    if mode == "host" and host.links:
        raise InvalidArgument(_NO_LINKS.format("host type networking"))
    if host.uts_mode == "host" and (config.hostname or config.domainname):
        raise InvalidArgument("conflicting options: hostname and the UTS mode")


def _check_joined(host: HostConfig, config: ContainerConfig) -> None:
    """What goes with another container's network."""
    if config.hostname:
        raise InvalidArgument("conflicting options: hostname and the network mode")
    if host.port_bindings or host.publish_all_ports:
        raise InvalidArgument("conflicting options: port publishing and the container type network mode")
    if config.exposed_ports:
        raise InvalidArgument("conflicting options: port exposing and the container type network mode")
    if host.links:
        raise InvalidArgument(_NO_LINKS.format("container type network"))
    if host.dns:
        raise InvalidArgument("conflicting options: dns and the network mode")
    if host.extra_hosts:
        raise InvalidArgument("conflicting options: custom host-to-IP mapping and the network mode")
