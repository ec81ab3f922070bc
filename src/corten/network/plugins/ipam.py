"""Address management by a plugin: libnetwork's IPAM driver protocol. Daemon only, on the loop.

The plugin keeps pools and addresses; Corten keeps which of them are its networks' (`SubnetConfig.pool_id`), and after a
restart asks for its pools again where the plugin wants that. Source: libnetwork docs/ipam.md and ipamapi.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from corten.errors import CortenError
from corten.network.config import NetworkConfig, SubnetConfig
from corten.network.ipam import IPNetwork, parse_address
from corten.network.plugins.client import MethodUnknown, Plugin, PluginFailed

_LOG = logging.getLogger("corten.plugins")
_GATEWAY = "com.docker.network.gateway"
_MAC = "com.docker.network.endpoint.macaddress"


class _Nothing(msgspec.Struct):
    pass


class _Capabilities(msgspec.Struct):
    mac: bool = msgspec.field(name="RequiresMACAddress", default=False)
    replay: bool = msgspec.field(name="RequiresRequestReplay", default=False)


class _Spaces(msgspec.Struct):
    local: str = msgspec.field(name="LocalDefaultAddressSpace", default="")
    everywhere: str = msgspec.field(name="GlobalDefaultAddressSpace", default="")


class _Pool(msgspec.Struct):
    id: str = msgspec.field(name="PoolID", default="")
    pool: str = msgspec.field(name="Pool", default="")
    data: dict[str, str] | None = msgspec.field(name="Data", default=None)


class _Address(msgspec.Struct):
    address: str = msgspec.field(name="Address", default="")


class PluginIpam:
    """The addresses of all networks with one plugin."""

    def __init__(self, plugin: Plugin) -> None:
        self._plugin = plugin
        self._known: _Capabilities | None = None

    async def _capabilities(self) -> _Capabilities:
        if self._known is None:
            try:
                self._known = await self._call("GetCapabilities", {}, _Capabilities)
            except MethodUnknown:
                self._known = _Capabilities()
        return self._known

    async def needs_mac(self) -> bool:
        """Whether an address is asked for with the MAC that it will be of."""
        return (await self._capabilities()).mac

    async def request_pools(self, network: NetworkConfig, asked: Sequence[SubnetConfig]) -> None:
        """Fill in the subnets of a new network; each stands in its record as soon as it is taken, so that `release`
        finds it. One for each family when none is asked for."""
        await self._capabilities()
        spaces = await self._call("GetDefaultAddressSpaces", {}, _Spaces)
        wanted = {4: network.enable_ipv4, 6: network.enable_ipv6}
        for version, enabled in wanted.items():
            own = [subnet for subnet in asked if subnet.network().version == version]
            for subnet in (own or [SubnetConfig(subnet="")]) if enabled else []:
                await self._take(network, subnet, version, spaces.local)

    async def _take(self, network: NetworkConfig, asked: SubnetConfig, version: int, space: str) -> None:
        body = _pool_request(space, asked.subnet, asked.ip_range, network.ipam_options, version)
        answer = await self._call("RequestPool", body, _Pool)
        try:
            pool = self._usable(answer, version)
        except PluginFailed:
            await self._quietly("ReleasePool", {"PoolID": answer.id})
            raise
        subnet = SubnetConfig(subnet=str(pool), ip_range=asked.ip_range, pool_id=answer.id, address_space=space)
        network.subnets.append(subnet)
        given = (answer.data or {}).get(_GATEWAY, "")
        if given and not asked.gateway:
            subnet.gateway = self._inside(given, subnet).partition("/")[0]
        else:
            options = {"RequestAddressType": _GATEWAY}
            subnet.gateway = (await self._request(subnet, asked.gateway, options)).partition("/")[0]
        for name, address in asked.auxiliary.items():
            await self._request(subnet, address, {})
            subnet.auxiliary = {**subnet.auxiliary, name: address}

    def _usable(self, answer: _Pool, version: int) -> IPNetwork:
        try:
            pool = ipaddress.ip_network(answer.pool)
        except ValueError:
            raise self._lie(f"unusable pool {answer.pool[:64]!r}") from None
        if not answer.id or pool.version != version:
            raise self._lie(f"pool {answer.id[:64]!r} {pool} is not what an IPv{version} network can use")
        return pool

    async def release_pools(self, network: NetworkConfig) -> None:
        """Give back all that the network has; what the plugin refuses is logged, it may have forgotten."""
        for subnet in network.subnets:
            for address in filter(None, (subnet.gateway, *subnet.auxiliary.values())):
                await self._quietly("ReleaseAddress", {"PoolID": subnet.pool_id, "Address": address})
            await self._quietly("ReleasePool", {"PoolID": subnet.pool_id})

    async def allocate(self, network: NetworkConfig, version: int, wanted: str, mac: str) -> str:
        """An address with its prefix length; "" when the network has no pool of the family."""
        options = {_MAC: mac} if mac and (await self._capabilities()).mac else {}
        pools = [subnet for subnet in network.subnets if subnet.network().version == version]
        if wanted:
            inside = [subnet for subnet in pools if parse_address(wanted) in subnet.network()]
            pools = inside or pools[:1]  # the plugin knows whether it can be had
        failure: CortenError | None = None
        for subnet in pools:
            try:
                return await self._request(subnet, wanted, options)
            except CortenError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return ""

    async def free(self, network: NetworkConfig, cidr: str) -> None:
        """Give an address back."""
        address = ipaddress.ip_interface(cidr).ip
        for subnet in network.subnets:
            if address in subnet.network():
                await self._quietly("ReleaseAddress", {"PoolID": subnet.pool_id, "Address": str(address)})

    async def replay(self, networks: Sequence[NetworkConfig], addresses: Mapping[str, Sequence[str]]) -> None:
        """After a restart: what networks and (by network id) endpoints have, asked for again if the plugin wants it."""
        if not (await self._capabilities()).replay:
            return
        for network in networks:
            for subnet in network.subnets:
                version = subnet.network().version
                space = subnet.address_space
                body = _pool_request(space, subnet.subnet, subnet.ip_range, network.ipam_options, version)
                answer = await self._call("RequestPool", body, _Pool)
                if answer.id != subnet.pool_id:
                    raise self._lie(f"pool {subnet.pool_id} of network {network.name} is now {answer.id[:64]!r}")
                for address in filter(None, (subnet.gateway, *subnet.auxiliary.values())):
                    await self._quietly("RequestAddress", _address_request(subnet, address, {}))
                for cidr in addresses.get(network.id, ()):
                    address = cidr.partition("/")[0]
                    if parse_address(address) in subnet.network():
                        await self._quietly("RequestAddress", _address_request(subnet, address, {}))

    async def _request(self, subnet: SubnetConfig, wanted: str, options: Mapping[str, str]) -> str:
        answer = await self._call("RequestAddress", _address_request(subnet, wanted, options), _Address)
        try:
            found = self._inside(answer.address, subnet)
            if wanted and parse_address(found.partition("/")[0]) != parse_address(wanted):
                raise self._lie(f"it gave {found} for {wanted}")
        except PluginFailed:
            body = {"PoolID": subnet.pool_id, "Address": answer.address.partition("/")[0]}
            await self._quietly("ReleaseAddress", body)
            raise
        return found

    def _inside(self, text: str, subnet: SubnetConfig) -> str:
        """`text` with the subnet's prefix length. Raises PluginFailed for what is no address of the pool."""
        try:
            address = ipaddress.ip_interface(text).ip
        except ValueError:
            raise self._lie(f"unusable address {text[:64]!r}") from None
        if address not in subnet.network():
            raise self._lie(f"address {address} is not in the pool {subnet.subnet}")
        return f"{address}/{subnet.network().prefixlen}"

    async def _call(self, method: str, body: dict[str, Any], answer: type[Any]) -> Any:
        return await self._plugin.call(f"IpamDriver.{method}", body, answer)

    async def _quietly(self, method: str, body: dict[str, Any]) -> None:
        try:
            await self._call(method, body, _Nothing)
        except CortenError as error:
            _LOG.warning("%s", error)

    def _lie(self, what: str) -> PluginFailed:
        return PluginFailed(f'plugin "{self._plugin.name}": {what}')


def _pool_request(space: str, pool: str, part: str, options: Mapping[str, str], version: int) -> dict[str, Any]:
    return {"AddressSpace": space, "Pool": pool, "SubPool": part, "Options": dict(options), "V6": version == 6}


def _address_request(subnet: SubnetConfig, wanted: str, options: Mapping[str, str]) -> dict[str, Any]:
    return {"PoolID": subnet.pool_id, "Address": wanted, "Options": dict(options)}
