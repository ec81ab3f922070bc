"""A vxlan network's peers change while containers run. Daemon only, on the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from corten.engine.networks.drivers import Drivers
from corten.engine.networks.registry import Registry
from corten.network.config import NetworkConfig
from corten.network.vxlan import changed_peers


async def change_peers(
    network: NetworkConfig,
    *,
    add: Sequence[str],
    remove: Sequence[str],
    registry: Registry,
    drivers: Drivers,
    replace_rules: Callable[[], None],
) -> None:
    """Rules, link and record follow, or none of them does. Raises InvalidArgument and what the driver raises."""
    before, network.options = network.options, changed_peers(network, add=add, remove=remove)
    driver = drivers[network.driver]
    try:
        driver.check(network, [other for other in registry.all() if other.id != network.id])
        replace_rules()
        await driver.ensure(network)
        registry.update(network)
    except BaseException:
        network.options = before
        replace_rules()
        await driver.ensure(network)
        raise
