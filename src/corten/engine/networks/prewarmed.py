"""Interfaces that wait in prepared sandboxes for their container. Daemon only, on the loop."""

from __future__ import annotations

from collections.abc import Sequence

from corten.engine.networks.drivers import Drivers
from corten.engine.networks.endpoint_settings import interface_name
from corten.engine.networks.lingering import Lingering
from corten.network.config import Endpoint, NetworkConfig
from corten.network.drivers.bridge import link_exists, veth_name
from corten.spec.docker.network import EndpointSettings


class Prewarmed:
    """By container id; all of them are the bridge driver's."""

    def __init__(self, *, drivers: Drivers, lingering: Lingering) -> None:
        self._drivers = drivers
        self._bridge = drivers.bridge()
        self._lingering = lingering
        self._veths: dict[str, str] = {}

    def make(self, cid: str, pid: int, network: NetworkConfig) -> None:
        """Place an interface in a prepared sandbox; `take`, `leave` or `forget` of the same id ends that."""
        veth = fresh_veth(cid)
        self._bridge.prewarm(network, veth, pid)
        self._veths[cid] = veth

    def take(self, cid: str) -> str:
        """The host's end for an endpoint of the bridge driver, which adopts it; "" when there is none."""
        return self._veths.pop(cid, "")

    def forget(self, cid: str) -> None:
        """The sandbox is given up, or its namespace is: the pair goes with it."""
        veth = self._veths.pop(cid, "")
        if veth:
            self._bridge.forget_prewarmed(veth)

    def leave(self, cid: str) -> bool:
        """This container wants no interface. If one was prepared, it goes with the namespace that init leaves behind:
        to delete it here would cost the start twenty milliseconds, to make another namespace costs it one."""
        veth = self._veths.pop(cid, "")
        if veth:
            self._bridge.forget_prewarmed(veth)
            self._lingering.add(Endpoint(id=veth, network="", veth=veth))
        return bool(veth)

    async def clear(self, cid: str, wanted: Sequence[tuple[NetworkConfig, EndpointSettings]]) -> None:
        """Give up a prepared interface whose present name another one may take: that of another driver, which comes
        first, or a further one, while the first is to be called otherwise."""
        veth = self._veths.get(cid, "")
        first, settings = wanted[0]
        if first.driver == self._bridge.name:
            taken = len(wanted) > 1 and interface_name(first, settings, []) != self._bridge.prewarmed_name(veth)
        else:
            taken = self._drivers[first.driver].addressed
        if veth and taken:
            del self._veths[cid]
            self._bridge.forget_prewarmed(veth)
            await self._bridge.delete_links([veth])


def fresh_veth(cid: str) -> str:
    """A name that no link has: a container that is started again may wait for the end of its last pair."""
    names = (veth_name(cid, number) for number in range(256))
    return next(name for name in names if not link_exists(name))
