"""The options of `run` and `create`. Values that need more than a simple rule have parsers, loaded when used."""

from __future__ import annotations

from corten.cli.option import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _by(module: str, function: str) -> Callable[[str], Any]:
    """A parser that is imported at its first use."""

    def parse(text: str) -> Any:
        found = __import__(f"corten.cli.create.{module}", fromlist=("x",))
        return getattr(found, function)(text)

    return parse


# Docker's own order of help: alphabetical.
OPTIONS = (
    Option("--add-host", "list", "Add a line to /etc/hosts (host:ip)", parse=_by("values", "extra_host")),
    Option("--annotation", "map", "Add an annotation, passed on to the runtime", shown="map[]"),
    Option("-a, --attach", "list", "Attach to stdin, stdout or stderr", parse=_by("values", "attach")),
    Option("--blkio-weight", "uint16", "Relative share of block I/O, 10 to 1000, or 0 for none"),
    Option("--blkio-weight-device", "list", "Share of block I/O of a device", parse=_by("devices", "weight")),
    Option("--cap-add", "list", "Add Linux capabilities"),
    Option("--cap-drop", "list", "Drop Linux capabilities"),
    Option("--cgroup-parent", "string", "Control group to put the container's own in"),
    Option("--cgroupns", "string", "Control group namespace: host or private"),
    Option("--cidfile", "string", "Write the container's ID to this file"),
    Option("--cpu-count", "int", "Number of CPUs (Windows only)", hidden=True),
    Option("--cpu-percent", "int", "Percentage of CPU (Windows only)", hidden=True),
    Option("--cpu-period", "int", "Period of the CPU quota in microseconds"),
    Option("--cpu-quota", "int", "CPU time a period, in microseconds"),
    Option("--cpu-rt-period", "int", "Period of real-time scheduling in microseconds"),
    Option("--cpu-rt-runtime", "int", "Real-time CPU a period in microseconds"),
    Option("-c, --cpu-shares", "int", "Relative share of CPU time"),
    Option("--cpus", "decimal", "Number of CPUs, with fractions", parse=_by("values", "nano_cpus")),
    Option("--cpuset-cpus", "string", "CPUs to run on (0-3, 0,1)"),
    Option("--cpuset-mems", "string", "Memory nodes to use (0-3, 0,1)"),
    Option("-d, --detach", "bool", "Run in the background and print the container's ID"),
    Option("--detach-keys", "string", "Keys that detach from the container"),
    Option("--device", "list", "Give the container a device of the host"),
    Option("--device-cgroup-rule", "list", "Add a rule for devices", parse=_by("devices", "cgroup_rule")),
    Option("--device-read-bps", "list", "Limit reading from a device, bytes a second", parse=_by("devices", "bps")),
    Option("--device-read-iops", "list", "Limit reading from a device, operations/s", parse=_by("devices", "iops")),
    Option("--device-write-bps", "list", "Limit writing to a device, bytes a second", parse=_by("devices", "bps")),
    Option("--device-write-iops", "list", "Limit writing to a device, operations/s", parse=_by("devices", "iops")),
    Option("--disable-content-trust", "bool", "Accepted and ignored", default=True, hidden=True),
    Option("--dns", "list", "DNS servers to ask", parse=_by("values", "ip_address")),
    Option("--dns-opt", "list", "Options of the resolver", hidden=True),
    Option("--dns-option", "list", "Options of the resolver"),
    Option("--dns-search", "list", "Domains to search", parse=_by("values", "dns_search")),
    Option("--domainname", "string", "NIS domain name"),
    Option("--egress", "strings", "What the container may reach: names, wildcards, address ranges, each with :ports"),
    Option("--entrypoint", "string", "Run this instead of the image's entrypoint"),
    Option("-e, --env", "list", "Set environment variables", parse=_by("env_files", "environment_variable")),
    Option("--env-file", "list", "Read environment variables from a file"),
    Option("--expose", "list", "Expose a port or a range of ports"),
    Option("--gpus", "gpu-request", "GPUs to give to the container ('all' for all)", parse=_by("gpus", "parse_gpus")),
    Option("--group-add", "list", "Join additional groups"),
    Option("--health-cmd", "string", "Command that checks health"),
    Option("--health-interval", "duration", "Time between two checks (ms|s|m|h)", shown="0s"),
    Option("--health-retries", "int", "Failures in a row that make the container unhealthy"),
    Option("--health-start-interval", "duration", "Time between checks in the start period (ms|s|m|h)", shown="0s"),
    Option("--health-start-period", "duration", "Time to start before failures count (ms|s|m|h)", shown="0s"),
    Option("--health-timeout", "duration", "Time that one check may take (ms|s|m|h)", shown="0s"),
    Option("-h, --hostname", "string", "Host name of the container"),
    Option("--init", "bool", "Run an init that forwards signals and reaps processes"),
    Option("-i, --interactive", "bool", "Keep stdin open even if not attached"),
    Option("--io-maxbandwidth", "bytes", "Limit of I/O bandwidth (Windows only)", hidden=True),
    Option("--io-maxiops", "uint", "Limit of I/O operations (Windows only)", hidden=True),
    Option("--ip", "string", "IPv4 address (e.g., 172.30.100.104)"),
    Option("--ip6", "string", "IPv6 address (e.g., 2001:db8::33)"),
    Option("--ipc", "string", "IPC namespace to use"),
    Option("--isolation", "string", "Isolation technology"),
    Option("--kernel-memory", "bytes", "Limit of kernel memory", hidden=True),
    Option("-l, --label", "list", "Set metadata", parse=_by("env_files", "label")),
    Option("--label-file", "list", "Read labels from a file"),
    Option("--link", "list", "Link to another container", parse=_by("values", "link")),
    Option("--link-local-ip", "list", "Link-local addresses", parse=_by("values", "ip_address")),
    Option("--log-driver", "string", "Logging driver"),
    Option("--log-opt", "list", "Options of the logging driver"),
    Option("--mac-address", "string", "MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Option("-m, --memory", "bytes", "Limit of memory"),
    Option("--memory-reservation", "bytes", "Soft limit of memory"),
    Option("--memory-swap", "bytes", "Limit of memory plus swap, -1 for none", parse=_by("values", "swap_bytes")),
    Option("--memory-swappiness", "int", "How readily memory is swapped (0 to 100)", default=-1),
    Option("--mount", "mount", "Mount a file system", parse=_by("mounts", "parse_mount")),
    Option("--name", "string", "Name of the container"),
    Option("--net", "network", "Network to connect to", parse=_by("networks", "parse_network"), hidden=True),
    Option("--net-alias", "list", "Names on the network", hidden=True),
    Option("--network", "network", "Network to connect to", parse=_by("networks", "parse_network")),
    Option("--network-alias", "list", "Names on the network"),
    Option("--no-healthcheck", "bool", "Turn the image's HEALTHCHECK off"),
    Option("--oom-kill-disable", "bool", "Never kill for lack of memory"),
    Option("--oom-score-adj", "int", "Preference when memory is short (-1000 to 1000)"),
    Option("--pid", "string", "PID namespace to use"),
    Option("--pids-limit", "int", "Limit of processes, -1 for none"),
    Option("--platform", "string", "Platform of the image, when there are several"),
    Option("--privileged", "bool", "Give the container all privileges of the host"),
    Option("-p, --publish", "list", "Publish ports of the container on the host"),
    Option("-P, --publish-all", "bool", "Publish all exposed ports on random ports"),
    Option("--pull", "string", 'When to pull the image ("always", "missing", "never")', default="missing"),
    Option("-q, --quiet", "bool", "Do not show the progress of a pull"),
    Option("--read-only", "bool", "Mount the root file system read-only"),
    Option("--restart", "string", "When to start the container again", default="no"),
    Option("--rm", "bool", "Remove the container and its anonymous volumes when it ends"),
    Option("--runtime", "string", "Runtime to use"),
    Option("--security-opt", "list", "Security options"),
    Option("--shm-size", "bytes", "Size of /dev/shm"),
    Option("--sig-proxy", "bool", "Pass signals on to the process", default=True),
    Option("--stop-signal", "string", "Signal that stops the container"),
    Option("--stop-timeout", "int", "Seconds to wait for its end when it is stopped"),
    Option("--storage-opt", "list", "Options of the storage driver"),
    Option("--sysctl", "map", "Kernel parameters", parse=_by("values", "sysctl"), shown="map[]"),
    Option("--tmpfs", "list", "Mount a tmpfs"),
    Option("-t, --tty", "bool", "Allocate a pseudo-terminal"),
    Option("--ulimit", "ulimit", "Resource limits", parse=_by("values", "ulimit"), shown="[]"),
    Option("--use-api-socket", "bool", "Mount the engine's API socket and the credentials", hidden=True),
    Option("-u, --user", "string", "User name or ID (format: <name|uid>[:<group|gid>])"),
    Option("--userns", "string", "User namespace to use"),
    Option("--uts", "string", "UTS namespace to use"),
    Option("-v, --volume", "list", "Mount a volume or a path of the host"),
    Option("--volume-driver", "string", "Driver of the volumes"),
    Option("--volumes-from", "list", "Mount the volumes of other containers"),
    Option("-w, --workdir", "string", "Working directory in the container"),
)  # fmt: skip
_ONLY_RUN = frozenset(("detach", "detach-keys", "sig-proxy"))
CREATE_OPTIONS = tuple(option for option in OPTIONS if option.long not in _ONLY_RUN)
