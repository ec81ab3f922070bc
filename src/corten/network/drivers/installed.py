"""Network drivers of other installed distributions: entry points of the group `corten.network_drivers`. Daemon only.

Read once, when the daemon starts. They are Python code that runs in the daemon, as trusted as it is; one that cannot be
used is left out with a warning and takes nothing else along. See docs/adding-a-network-driver.md.
"""

from __future__ import annotations

import logging
from collections.abc import Container
from importlib.metadata import EntryPoint, entry_points

from corten.linux.netlink import NetlinkSocket
from corten.network.driver import NetworkDriver

GROUP = "corten.network_drivers"
_LOG = logging.getLogger("corten.network")
_METHODS = ("check", "gateway", "ensure", "remove", "attach", "detach", "rules")


def installed_drivers(netlink: NetlinkSocket, *, owner: str, taken: Container[str]) -> dict[str, NetworkDriver]:
    """Name -> driver of all that can be used; `taken` are the built-in names."""
    found: dict[str, NetworkDriver] = {}
    for entry in entry_points(group=GROUP):
        try:
            if entry.name in taken or entry.name in found:
                raise ValueError(f"the name {entry.name!r} is that of another driver")
            found[entry.name] = _load(entry, netlink, owner)
        except (Exception, SystemExit) as error:  # a stranger's code may fail in any way; the daemon starts
            origin = entry.dist.name if entry.dist is not None else "?"
            _LOG.warning("network driver %s of %s cannot be used: %s", entry.value, origin, error)
    return found


def _load(entry: EntryPoint, netlink: NetlinkSocket, owner: str) -> NetworkDriver:
    driver: NetworkDriver = entry.load()(netlink, owner=owner)
    if driver.name != entry.name:
        raise ValueError(f"it calls itself {driver.name!r} and its entry point {entry.name!r}")
    missing = [name for name in _METHODS if not callable(getattr(driver, name, None))]
    missing += [name for name in ("addressed", "remote") if not isinstance(getattr(driver, name, None), bool)]
    if missing:
        raise TypeError(f"it has no {', '.join(missing)} (see corten.network.driver.NetworkDriver)")
    return driver
