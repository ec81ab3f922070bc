"""`builder.sources` of daemon.json, and the connections that builds' sources come by. Daemon only.

`{"builder": {"sources": {"deny": ["10.0.0.0/8"], "allow": ["127.0.0.0/8"]}}}`: networks that nothing is fetched from,
besides those of registry.inward.DENIED, and exceptions of all of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from corten.daemon import settings
from corten.daemon.options import ConfigError
from corten.registry.inward import InwardPolicy

if TYPE_CHECKING:
    from corten.daemon.config import Config
    from corten.registry.timings import Timings
    from corten.registry.transport import Transport

_LISTS = ("deny", "allow")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """What builds may fetch from, and how."""

    config: Config
    policy: InwardPolicy
    timings: Timings

    def transport(self) -> Transport:
        """Connections of their own: those to registries know no policy."""
        from corten.registry.proxies import Proxies
        from corten.registry.transport import Transport

        found = settings.registry_config(self.config)
        proxies = Proxies.of(os.environ, http=found.http_proxy, https=found.https_proxy, without=found.no_proxy)
        return Transport(certs_dirs=found.certs_dirs, timings=self.timings, proxies=proxies, policy=self.policy)


def source_settings(config: Config) -> SourceSettings:
    """What the configuration says."""
    return SourceSettings(
        config=config,
        policy=source_policy(config["builder"], config.tcp_ports),
        timings=settings.registry_timings(config),
    )


def source_policy(builder: Mapping[str, Any], own_ports: frozenset[int] = frozenset()) -> InwardPolicy:
    """The policy that `builder` asks for; `own_ports` are those of the API. Raises ConfigError."""
    given = builder.get("sources", {})
    if not isinstance(given, dict) or set(given) - set(_LISTS):
        raise ConfigError("builder.sources must be an object with the lists deny and allow")
    lists: dict[str, list[str]] = {}
    for name in _LISTS:
        found = given.get(name, [])
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise ConfigError(f"builder.sources.{name} must be a list of networks")
        lists[name] = found
    try:
        return InwardPolicy.of(deny=lists["deny"], allow=lists["allow"], own_ports=own_ports)
    except ValueError as error:
        raise ConfigError(f"builder.sources: {error}") from error
