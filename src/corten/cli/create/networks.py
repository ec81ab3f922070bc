"""--network and the options of an endpoint: names, or `name=...,alias=...,ip=...` fields."""

from __future__ import annotations

from corten.cli.create.csv_fields import split_fields
from corten.cli.errors import CliError
from corten.cli.option import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOT_USER_DEFINED = frozenset(("default", "bridge", "host", "none"))


def _fail(text: str) -> CliError:
    return CliError(text, status=125, prefixed=True)


def parse_network(text: str) -> dict[str, Any]:  # noqa: C901 - a list of cases, flat on purpose
    """One --network. Raises ValueError."""
    network: dict[str, Any] = {"target": text, "aliases": [], "links": [], "link_local": [], "driver_opts": {}}
    if "=" not in text:
        return network
    network["target"] = ""
    for field in split_fields(text):
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise ValueError(f"invalid field {field}")
        name, value = name.strip().lower(), value.strip()
        if name == "name":
            network["target"] = value
        elif name == "alias":
            network["aliases"].append(value)
        elif name == "driver-opt":
            key, separator, setting = value.partition("=")
            if not separator:
                raise ValueError("invalid key value pair format in driver options")
            network["driver_opts"][key.strip().lower()] = setting.strip()
        elif name in ("ip", "ip6", "mac-address"):
            network[name] = value
        elif name == "link-local-ip":
            network["link_local"].append(value)
        elif name == "gw-priority":
            try:
                network["priority"] = int(value)
            except ValueError:
                raise ValueError(f"invalid gw-priority ({value}): invalid syntax") from None
        else:
            raise ValueError(f"invalid field key {name}")
    if not network["target"]:
        raise ValueError("network name/id is not specified")
    return network


def endpoints(values: Values) -> tuple[str, dict[str, Any]]:
    """(NetworkMode, EndpointsConfig). Raises CliError."""
    networks = values["network"] + values["net"]
    if not networks:
        default = parse_network("default")
        _apply_options(default, values)
        return "default", {"default": _settings(default)}
    found: dict[str, Any] = {}
    kinds = {_is_user_defined(network["target"]) for network in networks}
    for index, network in enumerate(networks):
        if index == 0:
            _apply_options(network, values)
        settings = _settings(network)
        if network["target"] in found:
            raise _fail(f'network "{network["target"]}" is specified multiple times')
        if settings or len(networks) > 1:
            found[network["target"]] = settings
    if len(kinds) > 1:
        raise _fail("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    return networks[0]["target"], found


def _is_user_defined(target: str) -> bool:
    return target not in _NOT_USER_DEFINED and not target.startswith("container:")


_SINGLE = {
    "ip": ("ip", "--ip and per-network IPv4 address"),
    "ip6": ("ip6", "--ip6 and per-network IPv6 address"),
    "mac-address": ("mac-address", "--mac-address and per-network MAC address"),
}


def _apply_options(network: dict[str, Any], values: Values) -> None:
    """The options without a network's name belong to the first network."""
    aliases = values["network-alias"] + values["net-alias"]
    conflicts = "conflicting options: cannot specify both "
    if network["aliases"] and aliases:
        raise _fail(f"{conflicts}--network-alias and per-network alias")
    network["aliases"] = network["aliases"] or aliases
    for option, (field, text) in _SINGLE.items():
        if network.get(field) and values[option]:
            raise _fail(conflicts + text)
        network[field] = network.get(field) or values[option]
    if network["link_local"] and values["link-local-ip"]:
        raise _fail(f"{conflicts}--link-local-ip and per-network link-local IP addresses")
    network["link_local"] = network["link_local"] or values["link-local-ip"]
    if _is_user_defined(network["target"]) and values["link"]:
        network["links"] = values["link"]


def _settings(network: dict[str, Any]) -> dict[str, Any]:  # noqa: C901 - a list of cases, flat on purpose
    """EndpointSettings, without empty fields."""
    if not network["target"].strip():
        raise _fail("no name set for network")
    if not _is_user_defined(network["target"]):
        if network["aliases"]:
            raise _fail("network-scoped aliases are only supported for user-defined networks")
        if network["links"]:
            raise _fail("links are only supported for user-defined networks")
    settings: dict[str, Any] = {}
    addresses = {"IPv4Address": network.get("ip"), "IPv6Address": network.get("ip6")}
    ipam: dict[str, Any] = {field: address for field, address in addresses.items() if address}
    if network["link_local"]:
        ipam["LinkLocalIPs"] = network["link_local"]
    if network["aliases"]:
        settings["Aliases"] = network["aliases"]
    if network["driver_opts"]:
        settings["DriverOpts"] = network["driver_opts"]
    if network["links"]:
        settings["Links"] = network["links"]
    if ipam:
        settings["IPAMConfig"] = ipam
    if mac := str(network.get("mac-address") or "").strip():
        if not is_mac(mac):
            raise _fail(f"{mac} is not a valid mac address")
        settings["MacAddress"] = mac
    if network.get("priority"):
        settings["GwPriority"] = network["priority"]
    return settings


def is_mac(text: str) -> bool:
    """Six to twenty bytes in hexadecimal with colons or dashes."""
    for separator in (":", "-"):
        parts = text.split(separator)
        if len(parts) in (6, 8, 20):
            return all(len(part) == 2 and not part.strip("0123456789abcdefABCDEF") for part in parts)
    return False
