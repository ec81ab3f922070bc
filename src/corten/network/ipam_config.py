"""The IPAM section of a network that is asked for, checked as a whole with Docker's texts. Pure; daemon only."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from corten.errors import InvalidArgument
from corten.network.ipam import IPNetwork, parse_address, parse_subnet
from corten.spec.docker.network import IPAMConfig


def check_ipam(configs: Sequence[IPAMConfig], *, ipv4: bool, ipv6: bool) -> None:
    """Subnets, ranges and addresses, all faults in one error; families that are off are left alone.

    Raises InvalidArgument.
    """
    enabled = {4: ipv4, 6: ipv6}
    faults = [fault for config in configs for fault in _faults(config, enabled)]
    if faults:
        raise InvalidArgument("\n".join(["invalid network config:", *faults]))


def _faults(config: IPAMConfig, enabled: Mapping[int, bool]) -> Iterator[str]:
    if not config.subnet and not (config.ip_range or config.gateway or config.auxiliary_addresses):
        return
    subnet = _prefix(config.subnet)
    if subnet is None:
        yield f"invalid subnet {config.subnet[:64]}: invalid CIDR block notation"
        return
    if not enabled[subnet.version]:
        return
    if config.subnet != subnet.with_prefixlen and ipaddress.ip_interface(config.subnet).ip != subnet.network_address:
        yield f"invalid subnet {config.subnet}: it should be {subnet}"
    if config.ip_range:
        yield from _range_faults(config.ip_range, subnet)
    if config.gateway:
        yield from _address_faults(f"gateway {config.gateway[:64]}", config.gateway, subnet)
    for name, address in (config.auxiliary_addresses or {}).items():
        yield from _address_faults(f"auxiliary address {name[:64]}", address, subnet)


def _prefix(text: str) -> IPNetwork | None:
    try:
        return parse_subnet(text)
    except InvalidArgument:
        return None


def _range_faults(text: str, subnet: IPNetwork) -> Iterator[str]:
    found = _prefix(text)
    if found is None:
        yield f"invalid ip-range {text[:64]}: invalid CIDR block notation"
    elif found.version != subnet.version:
        yield f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block"
    elif ipaddress.ip_interface(text).ip != found.network_address:
        yield f"invalid ip-range {text}: it should be {found}"
    elif not found.overlaps(subnet):
        yield f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"
    elif found.prefixlen < subnet.prefixlen:
        yield f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"


def _address_faults(what: str, text: str, subnet: IPNetwork) -> Iterator[str]:
    try:
        address = parse_address(text)
    except InvalidArgument:
        yield f"invalid {what}: invalid address"
        return
    if address.version != subnet.version:
        yield f"invalid {what}: parent subnet is an IPv{subnet.version} block"
    elif address not in subnet:
        yield f"invalid {what}: parent subnet {subnet} doesn't contain this address"
