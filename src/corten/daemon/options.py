"""dockerd's options as data: flag, daemon.json key, kind, default, meaning. Pure; daemon only.

The names and meanings are those of dockerd(8) and its daemon.json. `used` is False for options that are accepted, so
that an existing configuration works, and change nothing in Corten; giving one is logged once.
"""

# ruff: noqa: E501 - a table of one option a line

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from corten.errors import InvalidArgument


class ConfigError(InvalidArgument):
    """The configuration cannot be used."""

    code = "invalid-configuration"


Kind = Literal["bool", "int", "text", "list", "map", "json"]


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `flag` is "" when it is only a key, `key` is "" when it is only a flag."""

    flag: str
    key: str
    kind: Kind
    default: Any
    help: str
    short: str = ""
    used: bool = True
    reloadable: bool = False

    @property
    def name(self) -> str:
        """How the value is called in Config: the key, else the flag."""
        return self.key or self.flag


# fmt: off
_DATA: tuple[Option, ...] = (
    # -- process
    Option("config-file", "", "text", "/etc/corten/daemon.json", "Daemon configuration file"),
    Option("data-root", "data-root", "text", "/var/lib/corten", "Root directory of persistent state"),
    Option("exec-root", "exec-root", "text", "/run/corten", "Root directory for execution state files"),
    Option("host", "hosts", "list", [], "Daemon socket(s) to connect to", short="H"),
    Option("group", "group", "text", "docker", "Group for the unix socket", short="G"),
    Option("pidfile", "pidfile", "text", "", "Path to use for daemon PID file", short="p"),
    Option("debug", "debug", "bool", False, "Enable debug mode", short="D", reloadable=True),
    Option("log-level", "log-level", "text", "info", 'Set the logging level ("debug"|"info"|"warn"|"error"|"fatal")', "l"),
    Option("log-format", "log-format", "text", "text", 'Set the logging format ("text"|"json")'),
    Option("shutdown-timeout", "shutdown-timeout", "int", 15, "Set the default shutdown timeout", reloadable=True),
    Option("live-restore", "live-restore", "bool", True, "Keep containers running when the daemon stops", reloadable=True),
    Option("experimental", "experimental", "bool", False, "Enable experimental features"),
    Option("label", "labels", "list", [], "Set key=value labels to the daemon", reloadable=True),
    Option("oom-score-adjust", "oom-score-adjust", "int", 0, "Set the oom_score_adj for the daemon"),
    Option("metrics-addr", "metrics-addr", "text", "", "Address and port to serve the metrics api on", used=False),
    Option("raw-logs", "raw-logs", "bool", False, "Full timestamps without ANSI coloring", used=False),
    # -- TLS
    Option("tls", "tls", "bool", False, "Use TLS; implied by --tlsverify"),
    Option("tlsverify", "tlsverify", "bool", False, "Use TLS and verify the remote"),
    Option("tlscacert", "tlscacert", "text", "", "Trust certs signed only by this CA"),
    Option("tlscert", "tlscert", "text", "", "Path to TLS certificate file"),
    Option("tlskey", "tlskey", "text", "", "Path to TLS key file"),
    # -- network
    Option("bridge", "bridge", "text", "", "Attach containers to a network bridge", short="b"),
    Option("bip", "bip", "text", "", "IPv4 address for the default bridge"),
    Option("bip6", "bip6", "text", "", "IPv6 address for the default bridge"),
    Option("fixed-cidr", "fixed-cidr", "text", "", "IPv4 subnet for the default bridge network"),
    Option("fixed-cidr-v6", "fixed-cidr-v6", "text", "", "IPv6 subnet for the default bridge network"),
    Option("default-gateway", "default-gateway", "text", "", "Default gateway IPv4 address for the default bridge"),
    Option("default-gateway-v6", "default-gateway-v6", "text", "", "Default gateway IPv6 address for the default bridge"),
    Option("default-address-pool", "default-address-pools", "json", [], "Default address pools for node specific local networks"),
    Option("ip", "ip", "text", "", "Host IP for port publishing from the default bridge network"),
    Option("publish-policy", "publish.policy", "text", "docker", 'Who may reach published ports ("docker"|"host-firewall"|"loopback")'),
    Option("ip-forward", "ip-forward", "bool", True, "Enable IP forwarding in system configuration"),
    Option("ip-forward-no-drop", "ip-forward-no-drop", "bool", False, "Do not set the filter-FORWARD policy to DROP"),
    Option("ip-masq", "ip-masq", "bool", True, "Enable IP masquerading for the default bridge network"),
    Option("icc", "icc", "bool", True, "Enable inter-container communication for the default bridge network"),
    Option("ipv6", "ipv6", "bool", False, "Enable IPv6 networking for the default bridge network"),
    Option("mtu", "mtu", "int", 0, 'Set the MTU for the default "bridge" network'),
    Option("userland-proxy", "userland-proxy", "bool", True, "Use a relay for loopback traffic"),
    Option("userland-proxy-path", "userland-proxy-path", "text", "", "Path to the userland proxy binary", used=False),
    Option("iptables", "iptables", "bool", True, "Enable addition of packet filter rules", used=False),
    Option("ip6tables", "ip6tables", "bool", True, "Enable addition of IPv6 packet filter rules", used=False),
    Option("firewall-backend", "firewall-backend", "text", "", "Firewall backend to use", used=False),
    Option("allow-direct-routing", "allow-direct-routing", "bool", False, "Allow remote access to published ports on container IP addresses", used=False),
    Option("default-network-opt", "default-network-opts", "json", {}, "Default network options", used=False),
    Option("host-gateway-ip", "host-gateway-ips", "list", [], "IP addresses that the special 'host-gateway' string in --add-host resolves to"),
    Option("dns", "dns", "list", [], "DNS server to use"),
    Option("dns-opt", "dns-opts", "list", [], "DNS options to use"),
    Option("dns-search", "dns-search", "list", [], "DNS search domains to use"),
    Option("network-control-plane-mtu", "network-control-plane-mtu", "int", 1500, "Network Control plane MTU", used=False),
    # -- containers
    Option("cgroup-parent", "cgroup-parent", "text", "", "Set parent cgroup for all containers"),
    Option("default-cgroupns-mode", "default-cgroupns-mode", "text", "", 'Default mode for containers cgroup namespace ("host" | "private")'),
    Option("default-ipc-mode", "default-ipc-mode", "text", "private", 'Default mode for containers ipc ("shareable" | "private")'),
    Option("default-shm-size", "default-shm-size", "text", "64MiB", "Default shm size for containers"),
    Option("default-ulimit", "default-ulimits", "json", {}, "Default ulimits for containers"),
    Option("default-runtime", "default-runtime", "text", "corten", "Default OCI runtime for containers", reloadable=True),
    Option("add-runtime", "runtimes", "json", {}, "Register an additional OCI compatible runtime", used=False, reloadable=True),
    Option("exec-opt", "exec-opts", "list", [], "Runtime execution options"),
    Option("init", "init", "bool", False, "Run an init in the container to forward signals and reap processes"),
    Option("init-path", "init-path", "text", "", "Path to the docker-init binary"),
    Option("log-driver", "log-driver", "text", "json-file", "Default driver for container logs"),
    Option("log-opt", "log-opts", "map", {}, "Default log driver options for containers"),
    Option("no-new-privileges", "no-new-privileges", "bool", False, "Set no-new-privileges by default for new containers"),
    Option("seccomp-profile", "seccomp-profile", "text", "", "Path to seccomp profile"),
    Option("selinux-enabled", "selinux-enabled", "bool", False, "Enable selinux support", used=False),
    Option("userns-remap", "userns-remap", "text", "", "User/Group setting for user namespaces"),
    Option("cpu-rt-period", "cpu-rt-period", "int", 0, "Limit the CPU real-time period in microseconds", used=False),
    Option("cpu-rt-runtime", "cpu-rt-runtime", "int", 0, "Limit the CPU real-time runtime in microseconds", used=False),
    Option("rootless", "rootless", "bool", False, "Enable rootless mode", used=False),
    Option("node-generic-resource", "node-generic-resources", "list", [], "Advertise user-defined resource", used=False),
    Option("cdi-spec-dir", "cdi-spec-dirs", "list", ["/etc/cdi", "/var/run/cdi"], "CDI specification directories to use"),
    # -- images and registries
    Option("storage-driver", "storage-driver", "text", "", "Storage driver to use", short="s"),
    Option("storage-opt", "storage-opts", "list", [], "Storage driver options", used=False),
    Option("registry-mirror", "registry-mirrors", "list", [], "Preferred registry mirror", reloadable=True),
    Option("insecure-registry", "insecure-registries", "list", [], "Registries that may be spoken to without TLS", reloadable=True),
    Option("max-concurrent-downloads", "max-concurrent-downloads", "int", 3, "Set the max concurrent downloads", reloadable=True),
    Option("max-concurrent-uploads", "max-concurrent-uploads", "int", 5, "Set the max concurrent uploads", reloadable=True),
    Option("max-download-attempts", "max-download-attempts", "int", 5, "Set the max download attempts for each pull", reloadable=True),
    Option("http-proxy", "http-proxy", "text", "", "HTTP proxy URL to use for outgoing traffic"),
    Option("https-proxy", "https-proxy", "text", "", "HTTPS proxy URL to use for outgoing traffic"),
    Option("no-proxy", "no-proxy", "text", "", "Comma-separated list of hosts for which the proxy is not used"),
    Option("", "proxies", "json", {}, "http-proxy, https-proxy and no-proxy as one object"),
    # -- parts of Docker that are not here
    Option("authorization-plugin", "authorization-plugins", "list", [], "Authorization plugins to load", reloadable=True),
    Option("containerd", "containerd", "text", "", "containerd grpc address", used=False),
    Option("containerd-namespace", "containerd-namespace", "text", "", "Containerd namespace to use", used=False),
    Option("containerd-plugins-namespace", "containerd-plugins-namespace", "text", "", "Containerd namespace to use for plugins", used=False),
    Option("cri-containerd", "cri-containerd", "bool", False, "Start containerd with cri", used=False),
    Option("swarm-default-advertise-addr", "swarm-default-advertise-addr", "text", "", "Set default address for swarm", used=False),
    # -- Corten's own
    Option("", "gc", "json", {}, "Water marks of the data root's file system, and which images may go above the high one", reloadable=True),
    Option("", "builder", "json", {}, "Settings of the builder: gc.enabled, gc.defaultKeepStorage, entitlements"),
    Option("", "features", "json", {}, "Features by name", used=False, reloadable=True),
    Option("", "deprecated-key-path", "text", "", "Path of an old key", used=False),
)
# fmt: on

OPTIONS: dict[str, Option] = {option.name: option for option in _DATA}
