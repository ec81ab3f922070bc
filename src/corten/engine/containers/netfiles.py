"""A container's /etc/hostname, /etc/hosts and /etc/resolv.conf, written into its directory before each start. Daemon.

The content is `network.hosts_files`; here are the cases: own network, host network, another container's. Written
without fsync: the files are made anew at each start. A user's change inside the container stays until then.
"""

from __future__ import annotations

import os
from pathlib import Path

from corten.engine.containers.live import Container
from corten.engine.containers.oci_spec import NetworkFiles
from corten.engine.containers.registry import Registry
from corten.engine.containers.settings import ContainerSettings
from corten.engine.networks.settings import Attached
from corten.errors import InvalidArgument
from corten.network import hosts_files

_HOST_RESOLV = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
_MAX = 64 * 1024


def file_paths(directory: Path) -> NetworkFiles:
    """Where a container's files are."""
    base = os.fspath(directory)
    return NetworkFiles(resolv_conf=f"{base}/resolv.conf", hostname=f"{base}/hostname", hosts=f"{base}/hosts")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MAX)
    except OSError:
        return ""


class NetworkFileWriter:
    """Writes the three files."""

    def __init__(self, *, settings: ContainerSettings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._host = hosts_files.ResolvConf()
        self._host_stamp: tuple[int, int] = (0, 0)

    def paths(self, container: Container) -> NetworkFiles:
        """The files that a container mounts: with `--network container:x` those of x."""
        mode = container.record.network_mode
        if mode.startswith("container:"):
            other = self._registry.find(mode.partition(":")[2])
            return self.paths(other) if other is not container else NetworkFiles()
        return file_paths(self._settings.directory(container.id))

    def write(self, container: Container, hostname: str, attached: Attached, host_gateways: list[str]) -> None:
        """Write what this start needs. Raises InvalidArgument, OSError."""
        record = container.record
        mode = record.network_mode
        if mode.startswith("container:"):
            return
        directory = self._settings.directory(record.id)
        files = file_paths(directory)
        host = record.host_config
        extra = hosts_files.extra_hosts(host.extra_hosts or (), host_gateways)
        if mode == "host":
            hosts = _read("/etc/hosts") + "".join(f"{address}\t{name}\n" for address, name in extra)
        else:
            hosts = hosts_files.hosts_file(
                hostname=hostname,
                domain=record.config.domainname,
                addresses=attached.addresses,
                extra=[*extra, *self._links(container)],
                ipv6=attached.ipv6 or mode == "bridge",
            )
        _write(files.hosts, hosts)
        _write(files.hostname, hosts_files.hostname_file(hostname))
        _write(files.resolv_conf, self._resolv_conf(container, mode, ipv6=attached.ipv6))

    def _resolv_conf(self, container: Container, mode: str, *, ipv6: bool) -> str:
        host = container.record.host_config
        settings = self._settings
        dns = tuple(host.dns or settings.dns)
        search = tuple(host.dns_search or settings.dns_search)
        options = tuple(host.dns_options or settings.dns_options)
        if mode == "host" and not (dns or search or options):
            return _read("/etc/resolv.conf")
        found = hosts_files.container_resolv_conf(
            self._host_resolv_conf(), dns=dns, search=search, options=options, ipv6=ipv6
        )
        return found.text()

    def _host_resolv_conf(self) -> hosts_files.ResolvConf:
        """The host's, parsed when it changed; systemd-resolved's stub leads to the real one."""
        try:
            status = os.stat(_HOST_RESOLV[0])
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = (-1, 0)
        if stamp != self._host_stamp:
            parsed = hosts_files.parse_resolv_conf(_read(_HOST_RESOLV[0]))
            if parsed.servers == ("127.0.0.53",):
                parsed = hosts_files.parse_resolv_conf(_read(_HOST_RESOLV[1])) or parsed
            self._host, self._host_stamp = parsed, stamp
        return self._host

    def _links(self, container: Container) -> list[tuple[str, str]]:
        """Lines of `--link name:alias`: the other container's address on the default bridge."""
        lines = []
        for link in container.record.host_config.links or ():
            name, _colon, alias = link.partition(":")
            other = self._registry.find(name)
            place = other.record.attached.get("bridge")
            if not other.record.status.status.has_process or place is None or not place.ip_address:
                raise InvalidArgument(
                    f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}"
                )
            names = " ".join(dict.fromkeys([alias.rpartition("/")[2] or other.name, other.id[:12], other.name]))
            lines.append((place.ip_address, names))
        return lines
