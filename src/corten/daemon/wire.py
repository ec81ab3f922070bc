"""The composition root: the only file that knows all classes. Daemon only.

`Engine` makes the services from the configuration and each other, starts and stops what has a life, and hands a
reloaded configuration to whom it concerns.
"""

from __future__ import annotations

import logging
import shutil
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from corten.api.router import Router
from corten.api.routes import collect
from corten.api.server import Server
from corten.api.services import Services
from corten.build.cache import BuildCache
from corten.build.ops.mount_homes import sweep as sweep_build_mounts
from corten.daemon import settings
from corten.daemon.adapters import Counts, Housekeeper, Sweeper, Usage, Warmth
from corten.daemon.config import Config
from corten.daemon.gc_settings import gc_settings
from corten.daemon.identity import engine_id
from corten.daemon.late import Late, LateUse
from corten.engine.containers.archive import ArchiveService
from corten.engine.containers.assembly import Assembled, assemble
from corten.engine.containers.changes import ChangesService
from corten.engine.containers.commit import CommitService
from corten.engine.containers.export import ExportService
from corten.engine.containers.logs import LogService
from corten.engine.containers.stats import StatsService
from corten.engine.events import Events
from corten.engine.images.gc_policy import GcPolicy, fill
from corten.engine.images.insight import ImageInsight
from corten.engine.images.library import ImageLibrary
from corten.engine.images.listing import ImageListing
from corten.engine.images.mounting import ImageMounts
from corten.engine.images.service import ImageService
from corten.engine.networks.host_resolv import HostResolvConf
from corten.engine.networks.service import NetworkService
from corten.engine.system import SystemService
from corten.engine.volumes import VolumeService
from corten.errors import CortenError
from corten.lib import blocking, log
from corten.linux.cgroup import open_cgroup
from corten.shim.client import Callbacks, Shims
from corten.store.content import ContentStore
from corten.store.db import Database
from corten.store.snapshots.choose import open_snapshots
from corten.volumes.local import LocalDriver

if TYPE_CHECKING:
    from corten.build.builds import Builds
    from corten.engine.fsck.service import FsckService
    from corten.engine.images.transfer import TransferService
    from corten.registry.client import RegistryClient

_LOG = logging.getLogger("corten.daemon")


class Engine:
    """Everything that runs in the daemon. `open`, `recover`, `ready`, and in the end `close`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.id = engine_id(config)
        self.events = Events()
        self._callbacks = Callbacks(
            on_exit=lambda _cid, _exit: None,
            on_exec_exit=lambda _cid, _exec, _code: None,
            on_oom=lambda _cid: None,
            on_detach=lambda _cid, _exec: None,
            on_lost=lambda _cid: None,
        )
        self._shims = Shims(exec_root=config.exec_root, cgroup_parent=config.cgroup_parent, callbacks=self._callbacks)
        self._system = settings.system_settings(config, self.id)
        self._client: RegistryClient | None = None
        self._transfers: TransferService | None = None

    def open(self) -> None:
        """Start the zygote, before there are threads, connections and secrets; then make everything."""
        self._shims.open()
        config = self._config
        spool = settings.spool_dir(config)
        shutil.rmtree(spool, ignore_errors=True)
        spool.mkdir(mode=0o700)
        self._database = Database(config.data_root / "meta.db")
        table = self._database.table
        self._snapshots = snapshots = open_snapshots(
            config.data_root / "snapshots", wanted=config.text("storage-driver"), tables=table
        )
        self._system.storage_driver, self._system.storage_status = snapshots.name, snapshots.status
        self._content = ContentStore(config.data_root / "content")
        self._library = ImageLibrary(blobs=self._content, layers=snapshots, records=table("images", durable=True))
        self._build_cache = self._open_build_cache()
        host_resolv = HostResolvConf()
        self._networks = NetworkService(
            settings=settings.network_settings(config, self.id),
            networks=table("networks"),
            endpoints=table("endpoints"),
            services=table("services"),
            events=self.events,
            host_resolv=host_resolv,
        )
        self._system.network_drivers = self._networks.driver_names
        self._volumes = VolumeService(
            drivers={"local": LocalDriver(config.data_root / "volumes")}, table=table("volumes"), events=self.events
        )
        in_use = LateUse()
        self._images = ImageService(library=self._library, events=self.events, containers=in_use)
        self._listing = ImageListing(library=self._library, containers=in_use)
        self._insight = ImageInsight(library=self._library, containers=in_use)
        self._mounts = self._images.mounts = ImageMounts(
            library=self._library,
            roots=snapshots,
            records=table("image-mounts"),
            directory=config.exec_root / "images",
            forbidden=(config.data_root, config.exec_root),
        )
        self._containers = assemble(
            settings=settings.container_settings(config, storage_driver=snapshots.name),
            table=table("containers"),
            images=self._images,
            snapshots=snapshots,
            networks=self._networks,
            volumes=self._volumes,
            shims=self._shims,
            events=self.events,
            host_resolv=host_resolv,
            image_size=self._image_size,
        )
        directory = self._containers.directory
        in_use.directory = self._volumes.users = directory
        self._networks.serve(directory, self._shims)
        warmth = Warmth(self._networks)
        self._shims.callbacks = self._containers.callbacks(on_warm=warmth.on_warm, on_cold=warmth.on_cold)
        self._sweeper = Sweeper(snapshots=snapshots, images=self._images, events=self.events)
        self._gc_policy = self._policy()
        self._housekeeper = Housekeeper(self._gc_policy, self.events)
        self.services = self._services(self._containers, Late(self._transfer))
        self.server = Server(router=Router(collect()), services=self.services, hosts=[socket.gethostname()])

    def _policy(self) -> GcPolicy:
        config = self._config
        return GcPolicy(
            settings=gc_settings(config["gc"]),
            library=self._library,
            images=self._images,
            pending=self._content,
            steps=self._build_cache,
            events=self.events,
            measure=partial(fill, config.data_root),
            engine_id=self.id,
        )

    def _open_build_cache(self) -> BuildCache:
        table = self._database.table
        cache = BuildCache(records=table("build-cache"), aliases=table("build-aliases"), is_here=self._library.has_node)
        self._library.kept = cache.nodes
        return cache

    def _image_size(self, image_id: str) -> int:
        entry = self._library.catalog.get(image_id)
        return entry.unpacked_size if entry is not None else 0

    def _transfer(self) -> TransferService:
        """Made at the first pull, push, load or login: the HTTP client costs 50 ms and 4 MB."""
        from corten.engine.images.transfer import TransferService

        config = self._config
        self._transfers = TransferService(
            library=self._library,
            client=self._registry_client(),
            events=self.events,
            spool_dir=settings.spool_dir(config),
            origins=self._database.table("blob_origins"),
            max_downloads=config.number("max-concurrent-downloads"),
            max_uploads=config.number("max-concurrent-uploads"),
        )
        return self._transfers

    def _registry_client(self) -> RegistryClient:
        """Made when it is first needed."""
        from corten.registry.client import RegistryClient

        if self._client is None:
            config = self._config
            self._client = RegistryClient(settings.registry_config(config), timings=settings.registry_timings(config))
        return self._client

    def _fsck(self) -> FsckService:
        """Made at the first check."""
        from corten.daemon.checking import fsck_service

        return fsck_service(
            data_root=self._config.data_root,
            database=self._database,
            content=self._content,
            snapshots=self._snapshots,
            library=self._library,
            images=self._images,
            containers=self._containers.registry,
            volumes=self._volumes,
            client=self._registry_client,
        )

    def _builds(self) -> Builds:
        """Made at the first build, or when somebody asks for its cache."""
        from corten.daemon.builder_settings import cache_bytes
        from corten.daemon.building import build_service

        return build_service(
            data_root=self._config.data_root,
            spool_dir=settings.spool_dir(self._config),
            mounts=self._config.exec_root / "build",
            containers=self._containers.service,
            snapshots=self._snapshots,
            library=self._library,
            assembler=lambda: self.services.transfer.assembler,
            puller=self.services.transfer,
            config=self._config,
            table=self._database.table,
            cache=self._build_cache,
            events=self.events,
            host_gateways=self._networks.host_gateways,
            cache_bytes=cache_bytes(self._config["builder"]),
        )

    def _services(self, containers: Assembled, transfer: Any) -> Services:
        builds = cast("Builds", Late(self._builds))
        return Services(
            builds=builds,
            containers=containers.service,
            attach=containers.attach,
            execs=containers.execs,
            archive=ArchiveService(containers=containers.registry, snapshots=self._snapshots, events=self.events),
            exports=ExportService(containers=containers.registry, snapshots=self._snapshots, events=self.events),
            commits=CommitService(
                containers=containers.registry,
                snapshots=self._snapshots,
                freezer=containers.service,
                images=transfer,
                events=self.events,
            ),
            changes=ChangesService(containers=containers.registry, snapshots=self._snapshots),
            logs=LogService(containers=containers.registry),
            stats=StatsService(containers=containers.registry, events=self.events),
            images=self._images,
            listing=self._listing,
            transfer=transfer,
            insight=self._insight,
            mounts=self._mounts,
            networks=self._networks,
            volumes=self._volumes,
            system=SystemService(
                settings=self._system,
                events=self.events,
                containers=Counts(containers.registry),
                images=self._listing,
                usage=Usage(
                    containers=containers.service,
                    images=self._listing,
                    volumes=self._volumes,
                    data_root=self._config.data_root,
                    library=self._library,
                    content=self._content,
                    snapshots=self._snapshots,
                    builds=builds,
                ),
            ),
            fsck=cast("FsckService", Late(self._fsck)),
            events=self.events,
        )

    async def recover(self) -> None:
        """Take over what an earlier daemon left."""
        self._library.load()
        self._mounts.recover()
        living = await self._containers.recovery.observe()
        await self._networks.recover(living)
        await self._containers.recovery.finish()
        await blocking.run(sweep_build_mounts, self._config.exec_root / "build")
        await self._gc_policy.sweep()
        for container in self._containers.registry:
            if container.record.status.status.has_process:
                for mount in container.record.mounts:
                    if mount.type == "volume":
                        self._volumes.adopt(mount.name, container.id)

    def ready(self) -> None:
        """The daemon serves: prepare for the first container."""
        self._shims.start_warming()
        self._containers.tasks.spawn(self._containers.warm(), "compilation of the default filters")
        self._containers.tasks.spawn(blocking.run(self._snapshots.warm), "preparation of the layers' mounts")
        self._sweeper.schedule()
        self._housekeeper.start()

    async def close(self) -> None:
        """Stop serving, then everything behind it. Containers go on in their shims."""
        await self.server.close()
        if not self._config.flag("live-restore"):
            await self._stop_containers()
        await self._containers.close()
        await self._housekeeper.close()
        await self._sweeper.close()
        await self._shims.shutdown()
        if not self._running():
            await self._leave_host()
        await self._networks.close()
        if self._client is not None:
            self._client.close()
        self._snapshots.close()
        self._database.close()

    async def _leave_host(self) -> None:
        """No container runs: what is made anew at the next start anyway is not left on the host.

        The machine's own daemon keeps its bridges and rules, as dockerd does: firewalls may name them.
        """
        try:
            if "cgroup-parent" not in self._config.given:
                open_cgroup(self._config.cgroup_parent).remove()
            if self._config.instance:
                await self._networks.uninstall()
        except (CortenError, OSError) as error:
            _LOG.warning("something stays on the host: %s", error)

    def _running(self) -> list[str]:
        return [c.id for c in self._containers.registry if c.record.status.status.has_process]

    async def _stop_containers(self) -> None:
        """`--live-restore=false`: containers end with the daemon."""
        import asyncio

        running = self._running()
        _LOG.info("stopping containers", extra={"count": len(running)})
        stops = (self._containers.service.shut_down(cid) for cid in running)
        try:
            async with asyncio.timeout(self._config.number("shutdown-timeout")):
                await asyncio.gather(*stops, return_exceptions=True)
        except TimeoutError:
            _LOG.warning("some containers did not stop in time")

    def apply(self, config: Config) -> None:
        """Hand over a reloaded configuration."""
        log.set_level(config.log_level)
        settings.update_system_settings(self._system, config)
        self._gc_policy.settings = gc_settings(config["gc"])
        if self._client is not None:
            self._client.reconfigure(settings.registry_config(config), settings.registry_timings(config))
        if self._transfers is not None:
            self._transfers.limit(
                max_downloads=config.number("max-concurrent-downloads"),
                max_uploads=config.number("max-concurrent-uploads"),
            )

    def announce_reload(self, attributes: dict[str, str]) -> None:
        """The `reload` event."""
        self.events.publish("daemon", "reload", self.id, {"name": self._system.name, **attributes})
