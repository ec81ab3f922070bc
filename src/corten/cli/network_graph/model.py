"""The graph of networks and containers, made of the answers of `GET /networks`, `GET /containers/json` and, where the
engine has it, `GET /corten/services`. Pure.

A graph is what `--format json` prints and what templates see: plain dicts, in the order of names, so that the same
answers always give the same graph.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypedDict

    class Endpoint(TypedDict):
        """A container's place in a network: its addresses there, and its names besides its own."""

        Container: str
        Addresses: list[str]
        Aliases: list[str]

    class Service(TypedDict):
        """A name with addresses of its own, and the containers that take its connections now."""

        Name: str
        Addresses: list[str]
        Serving: list[str]

    class Network(TypedDict):
        """`Outside` is how packets leave ("" when they cannot), `Connected` whether its containers reach each other,
        `Peers` the other hosts that it reaches over."""

        Name: str
        Id: str
        Driver: str
        Subnets: list[str]
        Outside: str
        Connected: bool
        Peers: list[str]
        Services: list[Service]
        Endpoints: list[Endpoint]

    class Port(TypedDict):
        """A host's port that leads to a container's."""

        IP: str
        PublicPort: int
        PrivatePort: int
        Type: str

    class Container(TypedDict):
        """`Health` is "" without a check, `SharesWith` the container whose namespace it is in, else ""."""

        Name: str
        Id: str
        Image: str
        State: str
        Health: str
        Ports: list[Port]
        Networks: list[str]
        SharesWith: str

    class Graph(TypedDict):
        """Networks with who is in them, and the containers that are in any of these networks."""

        Networks: list[Network]
        Containers: list[Container]


_BRIDGE = "com.docker.network.bridge."
_HEALTH = {"(healthy)": "healthy", "(unhealthy)": "unhealthy", "(health: starting)": "starting"}
_PREDEFINED = ("host", "null")
_FALSE = ("false", "0", "f")  # as Go's strconv.ParseBool reads options


def make_graph(
    networks: list[dict[str, Any]], containers: list[dict[str, Any]], services: list[dict[str, Any]], *, asked: bool
) -> Graph:
    """The graph of these networks. The host's network and `none` are left out while empty, unless `asked` for."""
    found = {item["Id"]: item for item in containers}
    nodes = [_network(item, found, services) for item in networks if not item.get("ConfigOnly")]
    nodes = [node for node in nodes if asked or node["Endpoints"] or node["Driver"] not in _PREDEFINED]
    nodes.sort(key=lambda node: (node["Name"], node["Id"]))
    seen = {endpoint["Container"] for node in nodes for endpoint in node["Endpoints"]}
    members = [_container(item, found) for item in containers]
    members = sorted((member for member in members if member["Name"] in seen), key=lambda member: member["Name"])
    return {"Networks": nodes, "Containers": members}


def _network(item: dict[str, Any], containers: dict[str, dict[str, Any]], services: list[dict[str, Any]]) -> Network:
    endpoints = [
        _endpoint(container, settings or {}, named=_owner(container, containers) is None)
        for container in containers.values()
        for name, settings in _places(container, containers).items()
        if _is_of(item, name, settings or {})
    ]
    subnets = [config.get("Subnet") or "" for config in (item.get("IPAM") or {}).get("Config") or []]
    return {
        "Name": item["Name"],
        "Id": item["Id"],
        "Driver": item["Driver"],
        "Subnets": [subnet for subnet in subnets if subnet],
        "Outside": _outside(item),
        "Connected": _connected(item),
        "Peers": _peers(item),
        "Services": sorted(
            (_service(service) for service in services if service["NetworkID"] == item["Id"] and service["Addresses"]),
            key=lambda service: service["Name"],
        ),
        "Endpoints": sorted(endpoints, key=lambda endpoint: endpoint["Container"]),
    }


def _service(item: dict[str, Any]) -> Service:
    serving = sorted(member["Name"] for member in item["Members"] if member["State"] == "serving")
    return {"Name": item["Name"], "Addresses": item["Addresses"], "Serving": serving}


def _peers(item: dict[str, Any]) -> list[str]:
    peers = (item.get("Options") or {}).get("peers") or "" if item["Driver"] == "vxlan" else ""
    return [peer.strip() for peer in peers.split(",") if peer.strip()]


def _is_of(network: dict[str, Any], name: str, settings: dict[str, Any]) -> bool:
    """Whether an entry of a container's networks means this one: it has no id yet while the container never ran."""
    if settings.get("NetworkID"):
        return bool(settings["NetworkID"] == network["Id"])
    return name in (network["Name"], network["Id"]) or (name == "default" and network["Name"] == "bridge")


def _outside(item: dict[str, Any]) -> str:
    """How packets leave the network, "" when they do not (docs/networks.md: drivers, gateway modes)."""
    driver, options = item["Driver"], item.get("Options") or {}
    if item.get("Internal") or driver == "null":
        return ""
    if driver == "host":
        return "the host's own"
    if driver in ("macvlan", "ipvlan"):  # without a parent it stands on a dummy
        return str(options.get("parent") or "")
    if driver not in ("bridge", "vxlan"):  # a plugin's affair
        return str(driver)
    families = [version for version, key in ((4, "EnableIPv4"), (6, "EnableIPv6")) if item.get(key, version == 4)]
    modes = [_mode(options, version) for version in families]
    if len(set(modes)) <= 1:
        return modes[0] if modes else ""
    return ", ".join(f"IPv{version} {mode}" for version, mode in zip(families, modes, strict=True))


def _mode(options: dict[str, str], version: int) -> str:
    mode = options.get(f"{_BRIDGE}gateway_mode_ipv{version}") or "nat"
    masquerade = options.get(f"{_BRIDGE}enable_ip_masquerade", "true").lower()
    return "no NAT" if mode.startswith("nat") and masquerade in _FALSE else mode.replace("nat", "NAT", 1)


def _connected(item: dict[str, Any]) -> bool:
    options = item.get("Options") or {}
    if item["Driver"] == "null" or "private" in (options.get("macvlan_mode"), options.get("ipvlan_flag")):
        return False
    return options.get(f"{_BRIDGE}enable_icc", "true").lower() not in _FALSE


def _endpoint(container: dict[str, Any], settings: dict[str, Any], *, named: bool) -> Endpoint:
    """`named` unless the container is in another's namespace: the aliases there are the other's."""
    name = _name(container)
    addresses = (settings.get("IPAddress"), settings.get("GlobalIPv6Address"))
    service = (container.get("Labels") or {}).get("corten.service") or name
    # API before 1.45: the id is among the aliases
    aliases = {*(settings.get("Aliases") or []), service.lower()} - {name, container["Id"][:12]}
    return {
        "Container": name,
        "Addresses": [address for address in addresses if address],
        "Aliases": sorted(aliases) if named else [],
    }


def _container(item: dict[str, Any], containers: dict[str, dict[str, Any]]) -> Container:
    ports: Iterable[Port] = (
        {"IP": port.get("IP") or "", "PublicPort": port["PublicPort"], "PrivatePort": port["PrivatePort"],
         "Type": port["Type"]}
        for port in item.get("Ports") or []
        if port.get("PublicPort")
    )  # fmt: skip
    owner = _owner(item, containers)
    status = item.get("Status") or ""
    return {
        "Name": _name(item),
        "Id": item["Id"],
        "Image": item.get("Image") or "",
        "State": item.get("State") or "",
        "Health": next((health for words, health in _HEALTH.items() if status.endswith(words)), ""),
        "Ports": sorted(ports, key=lambda port: (port["PrivatePort"], port["Type"], port["PublicPort"], port["IP"])),
        "Networks": sorted(_places(item, containers)),
        "SharesWith": _name(owner) if owner else "",
    }


def _places(item: dict[str, Any], containers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The networks of a container: of `--network container:x` those of x."""
    owner = _owner(item, containers)
    found: dict[str, Any] = ((owner or item).get("NetworkSettings") or {}).get("Networks") or {}
    return found


def _owner(item: dict[str, Any], containers: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    kind, _, wanted = ((item.get("HostConfig") or {}).get("NetworkMode") or "").partition(":")
    if kind != "container":
        return None
    return containers.get(wanted) or next((one for one in containers.values() if _name(one) == wanted), None)


def _name(item: dict[str, Any]) -> str:
    """The container's own name; the others, with a second slash, are links to it."""
    names: list[str] = [name.removeprefix("/") for name in item.get("Names") or []]
    own: str = min((name for name in names if "/" not in name), default=item["Id"][:12])
    return own
