"""`--link name:alias` on the default bridge: whom a container is linked to, and what the link tells it. Daemon.

The older way to find each other, from before networks had names: a line in /etc/hosts (`netfiles`) and environment
variables with the other's address, ports and environment, all as of the start (docs.docker.com, "Legacy container
links"). In a user-defined network links are names that the embedded server knows, and nothing here applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from corten.engine.containers.live import Container
from corten.errors import InvalidArgument, NotFound
from corten.spec.docker.hostconfig import HostConfig

_DEFAULT_BRIDGE = ("bridge", "default")
_OF_EACH_CONTAINER = ("HOME", "PATH")
_RANGE = 3  # so many ports in a row are named as a range, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Another container, by the name it has in this one, and its address."""

    other: Container
    alias: str
    address: str


def parse_link(text: str) -> tuple[str, str]:
    """(container, alias) of `db`, `db:alias` and, as inspect shows it, `/db:/web/alias`."""
    name, _colon, alias = text.partition(":")
    return name, alias.rpartition("/")[2] or name.removeprefix("/")


def check_links(host: HostConfig, find: Callable[[str], Container]) -> None:
    """What create refuses. Raises InvalidArgument: a 404 would make clients pull the image."""
    if host.network_mode not in _DEFAULT_BRIDGE:
        return
    for text in host.links or ():
        name, _alias = parse_link(text)
        try:
            find(name)
        except NotFound as error:
            raise InvalidArgument(f"could not get container for {name}: {error.message}") from error


def links_of(container: Container, find: Callable[[str], Container]) -> list[Link]:
    """What a container is linked to. Raises InvalidArgument (does not run, another network), NotFound."""
    found: list[Link] = []
    host = container.record.host_config
    if host.network_mode not in _DEFAULT_BRIDGE:
        return found
    for text in host.links or ():
        name, alias = parse_link(text)
        other = find(name)
        if not other.record.status.status.has_process:
            raise InvalidArgument(f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}")
        place = other.record.attached.get("bridge")
        if place is None or not place.ip_address:
            raise InvalidArgument(f"Cannot link to /{other.name}, as it does not belong to the default network")
        found.append(Link(other=other, alias=alias, address=place.ip_address))
    return found


def variables(name: str, link: Link) -> list[str]:
    """The environment variables of a link of the container `name`."""
    config = link.other.record.config
    prefix = link.alias.upper().replace("-", "_")
    keys = (key.partition("/") for key in config.exposed_ports or ())
    ports = sorted(
        ((int(number), protocol or "tcp") for number, _slash, protocol in keys if number.isdecimal()),
        key=lambda port: (port[0], port[1] != "tcp"),
    )
    return [
        *_of_ports(prefix, link.address, ports),
        f"{prefix}_NAME=/{name}/{link.alias}",
        *(
            f"{prefix}_ENV_{item}"
            for item in config.env or ()
            if "=" in item and item.partition("=")[0] not in _OF_EACH_CONTAINER
        ),
    ]


def _of_ports(prefix: str, address: str, ports: Sequence[tuple[int, str]]) -> Iterator[str]:
    if ports:
        number, protocol = ports[0]
        yield f"{prefix}_PORT={protocol}://{address}:{number}"
    for first, last, protocol in _ranges(ports):
        key = f"{prefix}_PORT_{first}_{protocol.upper()}"
        yield f"{key}_START={protocol}://{address}:{first}"
        yield f"{key}_PORT_START={first}"
        yield f"{key}_END={protocol}://{address}:{last}"
        yield f"{key}_PORT_END={last}"
    for number, protocol in ports:
        key = f"{prefix}_PORT_{number}_{protocol.upper()}"
        yield f"{key}={protocol}://{address}:{number}"
        yield f"{key}_ADDR={address}"
        yield f"{key}_PORT={number}"
        yield f"{key}_PROTO={protocol}"


def _ranges(ports: Sequence[tuple[int, str]]) -> Iterator[tuple[int, int, str]]:
    """(first, last, protocol) of ports in a row."""
    for protocol in dict.fromkeys(protocol for _number, protocol in ports):
        numbers = [number for number, of in ports if of == protocol]
        start = 0
        for at in range(1, len(numbers) + 1):
            if at == len(numbers) or numbers[at] != numbers[at - 1] + 1:
                if at - start >= _RANGE:
                    yield numbers[start], numbers[at - 1], protocol
                start = at


def shown_links(container: Container, find: Callable[[str], Container]) -> list[str] | None:
    """`HostConfig.Links` as inspect has them: `/db:/web/alias`, with the names of now."""
    links = container.record.host_config.links
    if not links or container.record.network_mode not in _DEFAULT_BRIDGE:
        return links
    found = []
    for text in links:
        name, alias = parse_link(text)
        try:
            name = find(name).name
        except NotFound:
            name = name.removeprefix("/")
        found.append(f"/{name}:/{container.name}/{alias}")
    return found
