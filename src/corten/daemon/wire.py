"""The composition root: the only file that knows all classes. Daemon only.

`Engine` makes the services from the configuration and each other, starts and stops what has a life, and hands a
reloaded configuration to whom it concerns.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from typing import Any

from corten.api import compat
from corten.api.router import Router
from corten.api.routes import collect
from corten.api.server import Server
from corten.api.services import Services
from corten.daemon.config import Config
from corten.engine.events import Events
from corten.engine.system import SystemService, SystemSettings
from corten.errors import NotImplemented as NotOffered
from corten.lib import log
from corten.lib.atomicfile import write_atomic

_LOG = logging.getLogger("corten.daemon")


class Pending:
    """Stands for a service that this build does not have: every use says so."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        raise NotOffered(f"{self._name} are not available in this build")


class Engine:
    """Everything that runs in the daemon."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.id = engine_id(config)
        self.events = Events()
        self.system_settings = system_settings(config, self.id)
        self.services = self._services()
        self.server = Server(router=Router(collect()), services=self.services, hosts=[socket.gethostname()])

    def _services(self) -> Services:
        pending: dict[str, Any] = {
            name: Pending(name)
            for name in (
                "containers",
                "attach",
                "execs",
                "archive",
                "logs",
                "stats",
                "images",
                "transfer",
                "networks",
                "volumes",
            )
        }
        return Services(
            **pending,
            events=self.events,
            system=SystemService(
                settings=self.system_settings,
                events=self.events,
                containers=_NoCounts(),
                images=_NoCounts(),
                usage=_NoUsage(),
            ),
        )

    def open(self) -> None:
        """Start the zygote: before threads, connections and secrets."""

    async def recover(self) -> None:
        """Take over what an earlier daemon left."""

    def ready(self) -> None:
        """The daemon serves: prepare for the first container."""

    async def close(self) -> None:
        """Stop serving, then everything behind it. Containers go on in their shims."""
        await self.server.close()

    def apply(self, config: Config) -> None:
        """Hand over a reloaded configuration."""
        log.set_level(config.log_level)
        settings = self.system_settings
        settings.debug = config.flag("debug")
        settings.labels = config.items("labels")
        settings.mirrors = config.items("registry-mirrors")
        settings.insecure_registries = config.items("insecure-registries")
        settings.live_restore = config.flag("live-restore")

    def announce_reload(self, attributes: dict[str, str]) -> None:
        """The `reload` event."""
        self.events.publish("daemon", "reload", self.id, {"name": self.system_settings.name, **attributes})


class _NoCounts:
    def counts(self) -> tuple[int, int, int]:
        return 0, 0, 0

    def count(self) -> int:
        return 0


class _NoUsage:
    async def containers(self) -> list[Any]:
        return []

    async def images(self) -> tuple[int, list[Any]]:
        return 0, []

    async def volumes(self) -> list[Any]:
        return []


def engine_id(config: Config) -> str:
    """This engine's identity, made once and kept in the data root."""
    path = config.data_root / "engine-id"
    try:
        known = path.read_text(encoding="ascii").strip()
        if known:
            return known
    except FileNotFoundError:
        pass
    fresh = str(uuid.UUID(bytes=os.urandom(16), version=4))
    write_atomic(path, f"{fresh}\n".encode())
    return fresh


def system_settings(config: Config, identity: str) -> SystemSettings:
    """What `info` and `version` show of the configuration."""
    return SystemSettings(
        id=identity,
        name=socket.gethostname(),
        engine_version=compat.ENGINE_VERSION,
        api_version=compat.MAX_TEXT,
        min_api_version=compat.MIN_TEXT,
        data_root=config.text("data-root"),
        init_path=config.text("init-path") or "corten-init",
        log_driver=config.text("log-driver"),
        default_runtime=config.text("default-runtime"),
        debug=config.flag("debug"),
        experimental=config.flag("experimental"),
        live_restore=config.flag("live-restore"),
        labels=config.items("labels"),
        mirrors=config.items("registry-mirrors"),
        insecure_registries=config.items("insecure-registries"),
        runtimes={"corten": "corten", "runc": "corten", "io.containerd.runc.v2": "corten"},
        http_proxy=config.text("http-proxy"),
        https_proxy=config.text("https-proxy"),
        no_proxy=config.text("no-proxy"),
        address_pools=[(pool["base"], pool["size"]) for pool in config["default-address-pools"]],
        no_new_privileges=config.flag("no-new-privileges"),
    )
