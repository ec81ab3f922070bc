"""The daemon's configuration as each part of the engine wants it. Pure, but for the files that options name."""

from __future__ import annotations

import socket
from pathlib import Path

from corten.api import compat
from corten.daemon.config import Config
from corten.daemon.options import ConfigError
from corten.daemon.sizes import size_bytes
from corten.engine.containers.settings import ContainerSettings
from corten.engine.networks.settings import NetworkSettings
from corten.engine.system import SystemSettings
from corten.network.ipam import DEFAULT_POOLS, parse_pool
from corten.network.plugins.discovery import SOCKET_FOLDER, SPEC_FOLDERS, PluginFolders
from corten.network.ports import PublishPolicy
from corten.registry.endpoints import RegistryConfig
from corten.registry.timings import Timings
from corten.spec.docker.hostconfig import LogConfig, Ulimit

_RUNTIMES = ("runc", "corten", "io.containerd.runc.v2")
_MAX_PROFILE = 1 << 20


def seccomp_profile(config: Config) -> str:
    """A profile's text, "unconfined", or "" for the built-in one. Raises ConfigError."""
    name = config.text("seccomp-profile")
    if name in {"", "builtin", "unconfined"}:
        return name if name == "unconfined" else ""
    try:
        with open(name, encoding="utf-8") as file:
            return file.read(_MAX_PROFILE)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"opening seccomp profile ({name}) failed: {error}") from error


def ulimits(config: Config) -> tuple[Ulimit, ...]:
    """`default-ulimits` of daemon.json: name to {Name, Soft, Hard}. Raises ConfigError."""
    result = []
    for name, value in config["default-ulimits"].items():
        if not isinstance(value, dict) or not all(isinstance(value.get(key), int) for key in ("Soft", "Hard")):
            raise ConfigError(f"invalid default-ulimits: {name}: Soft and Hard are needed")
        result.append(Ulimit(name=name, soft=value["Soft"], hard=value["Hard"]))
    return tuple(result)


def container_settings(config: Config, *, storage_driver: str) -> ContainerSettings:
    """What containers take from the configuration."""
    return ContainerSettings(
        data_root=config.data_root,
        storage_driver=storage_driver,
        exec_root=config.exec_root,
        log_config=LogConfig(type=config.text("log-driver"), config=dict(config["log-opts"])),
        default_ulimits=ulimits(config),
        default_shm_bytes=size_bytes(config.text("default-shm-size")),
        default_init=config.flag("init"),
        no_new_privileges=config.flag("no-new-privileges"),
        seccomp_profile=seccomp_profile(config),
        default_cgroupns=config.text("default-cgroupns-mode") or "private",
        default_ipc=config.text("default-ipc-mode"),
        dns=tuple(config.items("dns")),
        dns_options=tuple(config.items("dns-opts")),
        dns_search=tuple(config.items("dns-search")),
        cgroup_parent=config.text("cgroup-parent"),
        runtimes=_RUNTIMES,
        default_runtime=config.text("default-runtime"),
        cdi_directories=tuple(config.items("cdi-spec-dirs")),
        shutdown_timeout_s=config.number("shutdown-timeout"),
    )


def network_settings(config: Config, identity: str) -> NetworkSettings:
    """What networks take from the configuration. Raises InvalidArgument."""
    pools = [
        parse_pool(str(pool.get("base", "")), int(pool.get("size", 0))) for pool in config["default-address-pools"]
    ]
    return NetworkSettings(
        instance=config.instance,
        identity=identity,
        bridge=config.text("bridge"),
        bip=config.text("bip"),
        bip6=config.text("bip6"),
        fixed_cidr=config.text("fixed-cidr"),
        fixed_cidr_v6=config.text("fixed-cidr-v6"),
        default_gateway=config.text("default-gateway"),
        default_gateway_v6=config.text("default-gateway-v6"),
        mtu=config.number("mtu"),
        ipv6=config.flag("ipv6"),
        icc=config.flag("icc"),
        ip_masq=config.flag("ip-masq"),
        ip_forward=config.flag("ip-forward"),
        ip_forward_no_drop=config.flag("ip-forward-no-drop"),
        default_ip=config.text("ip"),
        userland_proxy=config.flag("userland-proxy"),
        publish_policy=PublishPolicy(config.text("publish.policy")),
        address_pools=tuple(pools) or DEFAULT_POOLS,
        plugin_folders=_plugin_folders(config),
    )


def _plugin_folders(config: Config) -> PluginFolders:
    """A daemon with an exec root of its own has its own sockets; the machine's has Docker's folders besides."""
    own = config.exec_root / "plugins"
    if config.instance:
        return PluginFolders(sockets=(own,), specs=(own, *SPEC_FOLDERS))
    return PluginFolders(sockets=(own, SOCKET_FOLDER), specs=(own, *SPEC_FOLDERS))


def registry_config(config: Config) -> RegistryConfig:
    """What image transfers take from the configuration."""
    return RegistryConfig(
        mirrors=tuple(config.items("registry-mirrors")),
        insecure=tuple(config.items("insecure-registries")),
        http_proxy=config.text("http-proxy"),
        https_proxy=config.text("https-proxy"),
        no_proxy=config.text("no-proxy"),
    )


def registry_timings(config: Config) -> Timings:
    """How often and how long a registry is tried."""
    return Timings(attempts=config.number("max-download-attempts"))


def system_settings(config: Config, identity: str) -> SystemSettings:
    """What `info` and `version` show of the configuration."""
    settings = SystemSettings(
        id=identity,
        name=socket.gethostname(),
        engine_version=compat.ENGINE_VERSION,
        api_version=compat.MAX_TEXT,
        min_api_version=compat.MIN_TEXT,
        data_root=config.text("data-root"),
        init_path=config.text("init-path") or "corten-init",
        log_driver=config.text("log-driver"),
        default_runtime=config.text("default-runtime"),
        experimental=config.flag("experimental"),
        runtimes=dict.fromkeys(_RUNTIMES, "corten"),
        http_proxy=without_password(config.text("http-proxy")),
        https_proxy=without_password(config.text("https-proxy")),
        no_proxy=config.text("no-proxy"),
        address_pools=[(pool["base"], pool["size"]) for pool in config["default-address-pools"]],
        no_new_privileges=config.flag("no-new-privileges"),
        cdi_directories=config.items("cdi-spec-dirs"),
    )
    update_system_settings(settings, config)
    return settings


def without_password(url: str) -> str:
    """A proxy's URL as `info` shows it: the credentials are masked as dockerd masks them."""
    scheme, separator, rest = url.rpartition("://")
    authority, slash, path = rest.partition("/")
    credentials, at, host = authority.rpartition("@")
    return f"{scheme}{separator}{'xxxxx:xxxxx' if credentials else ''}{at}{host}{slash}{path}"


def update_system_settings(settings: SystemSettings, config: Config) -> None:
    """Take over what a reload may change."""
    settings.debug = config.flag("debug")
    settings.labels = config.items("labels")
    settings.mirrors = config.items("registry-mirrors")
    settings.insecure_registries = config.items("insecure-registries")
    settings.live_restore = config.flag("live-restore")


def spool_dir(config: Config) -> Path:
    """Where archives wait on their way; emptied at start."""
    return config.data_root / "tmp"
