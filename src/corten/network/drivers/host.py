"""The network "host": a container in the host's own network namespace. Daemon only."""

from __future__ import annotations

from corten.network.drivers.null import NullDriver


class HostDriver(NullDriver):
    """Nothing to do: the runtime does not make a namespace."""

    name = "host"
