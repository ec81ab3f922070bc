"""The connections that builds' sources come by, as the configuration wants them. Daemon only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corten.daemon import settings
from corten.daemon.builder_settings import source_policy
from corten.registry.inward import InwardPolicy

if TYPE_CHECKING:
    from corten.daemon.config import Config
    from corten.registry.timings import Timings
    from corten.registry.transport import Transport


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
