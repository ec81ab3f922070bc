"""All networks of the daemon: records, look-up by name and id, address spaces. Daemon only, on the loop.

Decides and records; links and rules are made by the drivers and the firewall, at the call of `service` and `endpoints`.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence

from corten.engine.networks.settings import NetworkSettings, Records
from corten.errors import Conflict, Forbidden, InvalidArgument, NotFound, ResourceExhausted
from corten.lib import codec
from corten.network.config import NetworkConfig, SubnetConfig
from corten.network.ipam import (
    AddressSpace,
    IPAddress,
    IPNetwork,
    Taken,
    choose_subnet,
    local_pool,
    overlaps,
    parse_address,
    parse_subnet,
)
from corten.spec.docker.network import IPAMConfig


class NetworkNotFound(NotFound):
    """No network of this name or id."""

    code = "network-not-found"


class Registry:
    """The networks in memory, each with its address spaces; every change is recorded first."""

    def __init__(self, settings: NetworkSettings, records: Records) -> None:
        self._settings = settings
        self._records = records
        self._networks: dict[str, NetworkConfig] = {}
        self._names: dict[str, str] = {}
        self._spaces: dict[str, list[AddressSpace]] = {}

    def load(self) -> None:
        """Read the records."""
        for _key, value in self._records.list():
            self._remember(codec.decode(NetworkConfig, value))

    def all(self) -> list[NetworkConfig]:
        """All networks, oldest first."""
        return list(self._networks.values())

    def get(self, network_id: str) -> NetworkConfig | None:
        """By full id."""
        return self._networks.get(network_id)

    def by_name(self, name: str) -> NetworkConfig | None:
        """By exact name."""
        return self._networks.get(self._names.get(name, ""))

    def users_of(self, network: NetworkConfig) -> list[NetworkConfig]:
        """The networks that took their configuration from this one."""
        return [other for other in self._networks.values() if network.config_only and other.config_from == network.name]

    def find(self, reference: str) -> NetworkConfig:
        """By full id, name or unique id prefix, in this order; one that is pending is not there (yet, or any more).

        Raises NetworkNotFound, InvalidArgument (ambiguous).
        """
        found = self._networks.get(reference) or self.by_name(reference)
        if found is not None and not found.pending:
            return found
        ready = [network for network in self._networks.values() if reference and not network.pending]
        matches = [network for network in ready if network.id.startswith(reference)]
        if len(matches) > 1:
            raise InvalidArgument(f"network {reference} is ambiguous ({len(matches)} matches found based on ID prefix)")
        if not matches:
            raise NetworkNotFound(f"network {reference} not found")
        return matches[0]

    def add(self, network: NetworkConfig) -> None:
        """Record a network that is new."""
        self.update(network)
        self._remember(network)

    def update(self, network: NetworkConfig) -> None:
        """Record what has changed in a network; its addresses stay as they are."""
        self._records.put(network.id, codec.encode(network), network.name)

    def remove(self, network: NetworkConfig) -> None:
        """Forget a network."""
        self._records.delete(network.id)
        self._networks.pop(network.id, None)
        self._names.pop(network.name, None)
        self._spaces.pop(network.id, None)

    def spaces(self, network_id: str) -> list[AddressSpace]:
        """The address spaces of a network, in the order of its subnets."""
        return self._spaces[network_id]

    def _remember(self, network: NetworkConfig) -> None:
        self._networks[network.id] = network
        self._names[network.name] = network.id
        others_care = network.config_only or network.ipam_driver != "default"
        self._spaces[network.id] = [] if others_care else [_space(subnet) for subnet in network.subnets]

    def subnets(
        self,
        configs: Sequence[IPAMConfig],
        *,
        ipv4: bool,
        ipv6: bool,
        taken: Taken,
        gateway_wanted: bool = True,
    ) -> list[SubnetConfig]:
        """The subnets of a new network: those asked for, else free ones of the pools. `taken` has the host's prefixes.

        Raises InvalidArgument, Forbidden (overlap with another network), ResourceExhausted.
        """
        others = [network for network in self._networks.values() if not network.config_only]
        own = [subnet.network() for network in others for subnet in network.subnets]
        found: list[SubnetConfig] = []
        for config in configs:
            if not config.subnet:
                continue
            asked = parse_subnet(config.subnet)
            if any(overlaps(asked, other) for other in own):
                raise Forbidden("invalid pool request: Pool overlaps with other one on this address space")
            own.append(asked)
            found.append(_subnet_config(asked, config, gateway_wanted=gateway_wanted))
        present = {subnet.network().version for subnet in found}
        if ipv4 and 4 not in present:
            pools = [pool for pool in self._settings.address_pools if pool.base.version == 4]
            chosen = choose_subnet(pools, own, taken)
            found.insert(0, _subnet_config(chosen, IPAMConfig(), gateway_wanted=gateway_wanted))
        if ipv6 and 6 not in present:
            pools = [pool for pool in self._settings.address_pools if pool.base.version == 6]
            chosen = choose_subnet([*pools, local_pool(self._settings.identity)], own, taken)
            found.append(_subnet_config(chosen, IPAMConfig(), gateway_wanted=gateway_wanted))
        return found

    def allocate(self, network: NetworkConfig, version: int, wanted: str, *, highest: bool = False) -> str:
        """An address of a family with its prefix length, or "" when the network has no such subnet."""
        spaces = [space for space in self._spaces[network.id] if space.subnet.version == version]
        if wanted:
            address = parse_address(wanted)
            space = next((s for s in spaces if address in s.subnet), None)
            if space is None:
                raise InvalidArgument(f"no configured subnet or ip-range contains the IP address {wanted}")
            space.reserve(address)
            return f"{address}/{space.subnet.prefixlen}"
        for number, space in enumerate(spaces, start=1):
            allocate = space.allocate_highest if highest else space.allocate
            try:
                return f"{allocate()}/{space.subnet.prefixlen}"
            except ResourceExhausted:
                if number == len(spaces):
                    raise
        return ""

    def retake(self, network: NetworkConfig, cidr: str) -> None:
        """After a restart: an address is in use by a living container."""
        address = ipaddress.ip_interface(cidr).ip
        for space in self._spaces[network.id]:
            if address in space.subnet and address not in space:
                space.reserve(address)

    def free(self, network_id: str, cidr: str) -> None:
        """Give an address back."""
        address: IPAddress = ipaddress.ip_interface(cidr).ip
        for space in self._spaces.get(network_id, ()):
            if address in space.subnet:
                space.release(address)


def _space(subnet: SubnetConfig) -> AddressSpace:
    space = AddressSpace(subnet.network(), parse_subnet(subnet.ip_range) if subnet.ip_range else None)
    if subnet.gateway:
        space.reserve(parse_address(subnet.gateway))
    for name, text in subnet.auxiliary.items():
        try:
            space.reserve(parse_address(text))
        except Conflict as error:
            raise Conflict(f"failed to allocate secondary ip address ({name}:{text}): {error.message}") from error
    return space


def _subnet_config(subnet: IPNetwork, config: IPAMConfig, *, gateway_wanted: bool) -> SubnetConfig:
    """The record of a subnet, its gateway chosen and everything checked by building its address space once."""
    space = AddressSpace(subnet)
    auxiliary = {name: str(parse_address(text)) for name, text in (config.auxiliary_addresses or {}).items()}
    if config.gateway:
        gateway = str(parse_address(config.gateway))
    elif gateway_wanted:
        taken = set(auxiliary.values())
        address = space.first()
        while str(address) in taken:
            address += 1
        gateway = str(address)
    else:
        gateway = ""
    ip_range = str(parse_subnet(config.ip_range)) if config.ip_range else ""
    record = SubnetConfig(subnet=str(subnet), gateway=gateway, ip_range=ip_range, auxiliary=auxiliary)
    _space(record)
    return record


def as_asked(config: IPAMConfig) -> SubnetConfig:
    """The record of a subnet that is kept for other networks to use."""
    return SubnetConfig(
        subnet=config.subnet,
        gateway=config.gateway,
        ip_range=config.ip_range,
        auxiliary=dict(config.auxiliary_addresses or {}),
    )


def new_id() -> str:
    """A network's or endpoint's id."""
    return secrets.token_hex(32)
