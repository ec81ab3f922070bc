"""A container's /etc/hostname, /etc/hosts and /etc/resolv.conf, written into its directory before each start. Daemon.

The content is `network.hosts_files`; here are the cases: own network, host network, another container's. Written
without fsync: the files are made anew at each start. A user's change inside the container stays until then.
"""

from __future__ import annotations

import os
from pathlib import Path

from corten.engine.containers.hosts_edit import add_lines, remove_lines, write_whole
from corten.engine.containers.links import links_of
from corten.engine.containers.live import Container
from corten.engine.containers.namespaces import hostname_of
from corten.engine.containers.oci_spec import NetworkFiles
from corten.engine.containers.record import ContainerRecord
from corten.engine.containers.registry import Registry
from corten.engine.containers.settings import ContainerSettings
from corten.engine.networks.host_resolv import HostResolvConf, read_text
from corten.engine.networks.settings import Attached
from corten.network import hosts_files
from corten.network.dns.upstream import upstreams
from corten.spec.docker.network import EndpointSettings


def file_paths(directory: Path) -> NetworkFiles:
    """Where a container's files are."""
    base = os.fspath(directory)
    return NetworkFiles(resolv_conf=f"{base}/resolv.conf", hostname=f"{base}/hostname", hosts=f"{base}/hosts")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        write_whole(fd, text.encode(errors="surrogateescape"))
    finally:
        os.close(fd)


def _addresses(place: EndpointSettings) -> list[str]:
    return [address for address in (place.ip_address, place.global_ipv6_address) if address]


class NetworkFileWriter:
    """Writes the three files."""

    def __init__(self, *, settings: ContainerSettings, registry: Registry, host_resolv: HostResolvConf) -> None:
        self._settings = settings
        self._registry = registry
        self._host_resolv = host_resolv

    def name_servers(self, record: ContainerRecord) -> tuple[str, ...]:
        """The name servers given to a container or to all of them; none: the host's."""
        return tuple(record.host_config.dns or self._settings.dns)

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
            hosts = read_text("/etc/hosts", limit=-1) + "".join(f"{address}\t{name}\n" for address, name in extra)
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
        resolv_conf = self._embedded(record, ipv6=attached.ipv6) if attached.resolver else ""
        _write(files.resolv_conf, resolv_conf or self._resolv_conf(record, ipv6=attached.ipv6))

    def _resolv_conf(self, record: ContainerRecord, *, ipv6: bool) -> str:
        """For a container that asks the servers itself."""
        host = record.host_config
        dns = self.name_servers(record)
        search = tuple(host.dns_search or self._settings.dns_search)
        options = tuple(host.dns_options or self._settings.dns_options)
        if record.network_mode == "host" and not (dns or search or options):
            return read_text("/etc/resolv.conf")
        found = hosts_files.container_resolv_conf(
            self._host_resolv.reachable(), dns=dns, search=search, options=options, ipv6=ipv6
        )
        return found.text()

    def _embedded(self, record: ContainerRecord, *, ipv6: bool) -> str:
        """For one that the embedded name server serves."""
        host = self._host_resolv.current()
        hosts_files.check_dns(self.name_servers(record), (), ())
        return hosts_files.embedded_resolv_conf(
            host,
            search=tuple(record.host_config.dns_search or self._settings.dns_search),
            options=tuple(record.host_config.dns_options or self._settings.dns_options),
            upstreams=upstreams(self.name_servers(record), host.servers, ipv6=ipv6),
        )

    def joined(self, container: Container, place: EndpointSettings, *, resolver: bool) -> None:
        """A running container has joined a network: its address, and the embedded name server if that came along.

        A resolv.conf that was changed inside is left as it is. Raises OSError.
        """
        record = container.record
        files = file_paths(self._settings.directory(record.id))
        add_lines(files.hosts, self._own_lines(record, place))
        if resolver:
            written = read_text(files.resolv_conf)
            if written in (self._resolv_conf(record, ipv6=ipv6) for ipv6 in (False, True)):
                _write(files.resolv_conf, self._embedded(record, ipv6=bool(place.global_ipv6_address)))

    def left(self, container: Container, place: EndpointSettings) -> None:
        """It has left one. Raises OSError."""
        record = container.record
        hosts = file_paths(self._settings.directory(record.id)).hosts
        remove_lines(hosts, self._own_lines(record, place))

    def _own_lines(self, record: ContainerRecord, place: EndpointSettings) -> str:
        hostname = hostname_of(record.host_config, record.config.hostname, record.id, self._registry.find)
        return hosts_files.own_lines(_addresses(place), hosts_files.own_names(hostname, record.config.domainname))

    def _links(self, container: Container) -> list[tuple[str, str]]:
        """The lines of `--link name:alias`."""
        return [
            (link.address, " ".join(dict.fromkeys([link.alias, link.other.id[:12], link.other.name])))
            for link in links_of(container, self._registry.find)
        ]
