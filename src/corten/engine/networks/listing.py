"""Networks as the API shows them, and the filters of list and prune. Pure; daemon only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from corten.errors import InvalidArgument
from corten.network.config import Endpoint, NetworkConfig, SubnetConfig
from corten.spec.docker.network import IPAM, ConfigReference, EndpointResource, IPAMConfig, NetworkResource

LIST_FILTERS = frozenset({"dangling", "driver", "id", "label", "name", "scope", "type"})
PRUNE_FILTERS = frozenset({"label", "label!", "until"})
_PATTERN_LIMIT = 256
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def resource(network: NetworkConfig, members: Mapping[str, tuple[str, Endpoint]]) -> NetworkResource:
    """A network with its running containers (id -> name, endpoint)."""
    return NetworkResource(
        name=network.name,
        id=network.id,
        created=network.created,
        scope=network.scope,
        driver=network.driver,
        enable_ipv4=network.enable_ipv4,
        enable_ipv6=network.enable_ipv6,
        ipam=IPAM(
            driver=network.ipam_driver,
            options=network.ipam_options or (None if network.predefined else {}),
            config=_ipam_configs(network) or (None if network.predefined else []),
        ),
        config_from=ConfigReference(network=network.config_from),
        config_only=network.config_only,
        internal=network.internal,
        attachable=network.attachable,
        containers={
            cid: EndpointResource(
                name=name,
                endpoint_id=endpoint.id,
                mac_address=endpoint.mac,
                ipv4_address=endpoint.ipv4,
                ipv6_address=endpoint.ipv6,
            )
            for cid, (name, endpoint) in members.items()
        },
        options=dict(network.options),
        labels=dict(network.labels),
    )


def _ipam_configs(network: NetworkConfig) -> list[IPAMConfig]:
    """Without addresses Docker shows subnets that hold all of them."""
    if network.ipam_driver == "null":
        enabled = {"0.0.0.0/0": network.enable_ipv4, "::/0": network.enable_ipv6}
        return [IPAMConfig(subnet=everything) for everything, on in enabled.items() if on]
    return [ipam_config(subnet) for subnet in network.subnets]


def ipam_config(subnet: SubnetConfig) -> IPAMConfig:
    """A subnet as the API spells it."""
    return IPAMConfig(
        subnet=subnet.subnet,
        ip_range=subnet.ip_range,
        gateway=subnet.gateway,
        auxiliary_addresses=subnet.auxiliary or None,
    )


def label_matches(labels: Mapping[str, str], wanted: str) -> bool:
    """`key` or `key=value`."""
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def _name_matches(name: str, wanted: str) -> bool:
    """A regular expression, as Docker takes it; what is none is a part of the name.

    Long ones are not tried: a pattern can be made to run for ages.
    """
    try:
        return len(wanted) <= _PATTERN_LIMIT and re.search(wanted, name) is not None
    except re.error:
        return wanted in name


def _flag(values: list[str], name: str) -> bool:
    if len(values) > 1 or values[0] not in ("1", "0", "true", "false", "True", "False"):
        raise InvalidArgument(f'invalid value for filter \'{name}\', must be "true" (or "1"), or "false" (or "0")')
    return values[0] in ("1", "true", "True")


def matches(network: NetworkConfig, filters: Mapping[str, list[str]], *, in_use: bool) -> bool:
    """Whether a network passes the filters of list. Raises InvalidArgument."""
    return all(_passes(network, name, values, in_use=in_use) for name, values in filters.items())


def _passes(network: NetworkConfig, name: str, values: list[str], *, in_use: bool) -> bool:
    if name not in LIST_FILTERS:
        raise InvalidArgument(f"invalid filter '{name}'")
    if not values:
        return True
    if name == "dangling":
        return _flag(values, name) == (not in_use and not network.predefined)
    if name == "type" and any(value not in ("custom", "builtin") for value in values):
        raise InvalidArgument(f"invalid filter: 'type'='{values[0]}'")
    if name == "label":
        return all(label_matches(network.labels, value) for value in values)
    if name == "name":
        return any(_name_matches(network.name, value) for value in values)
    if name == "id":
        return any(network.id.startswith(value) for value in values)
    kind = "builtin" if network.predefined else "custom"
    return {"type": kind, "driver": network.driver, "scope": network.scope}[name] in values


def prunable(network: NetworkConfig, filters: Mapping[str, list[str]]) -> bool:
    """Whether the filters of prune let a network go; predefined ones never. Raises InvalidArgument."""
    for name in filters:
        if name not in PRUNE_FILTERS:
            raise InvalidArgument(f"invalid filter '{name}'")
    until = filters.get("until", [])
    if len(until) > 1:
        raise InvalidArgument("more than one until filter specified")
    before = parse_until(until[0]) if until else None
    return (
        not network.predefined
        and not network.config_only
        and (before is None or datetime.fromisoformat(network.created) <= before)
        and all(label_matches(network.labels, value) for value in filters.get("label", []))
        and not any(label_matches(network.labels, value) for value in filters.get("label!", []))
    )


def parse_until(text: str) -> datetime:
    """A Go duration before now (`24h`, `1h30m`), a Unix time, or RFC 3339. Raises InvalidArgument."""
    try:
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), UTC)
        if text[-1:] in _UNITS and text[:1].isdigit():
            seconds, digits = 0.0, ""
            for char in text:
                if char in _UNITS:
                    seconds, digits = seconds + float(digits) * _UNITS[char], ""
                else:
                    digits += char
            return datetime.now(UTC) - timedelta(seconds=seconds)
        when = datetime.fromisoformat(text)
        return when if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(f'failed to parse value as time or duration: "{text[:64]}"') from None
