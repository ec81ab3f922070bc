"""Put the container use cases together: the one place that knows all of their classes. Called by daemon/wire.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from corten.engine.containers.attach import AttachService
from corten.engine.containers.cdi import CdiDirectories
from corten.engine.containers.collaborators import (
    CgroupControl,
    Images,
    Networks,
    ShimPool,
    Snapshots,
    Table,
    Volumes,
)
from corten.engine.containers.create import Creator
from corten.engine.containers.directory import Directory
from corten.engine.containers.exec import ExecService
from corten.engine.containers.exits import Supervisor
from corten.engine.containers.health import HealthChecks
from corten.engine.containers.launch import Launcher
from corten.engine.containers.list import Lister
from corten.engine.containers.live import Container
from corten.engine.containers.netfiles import NetworkFileWriter
from corten.engine.containers.prune import Pruner
from corten.engine.containers.recovery import Recovery
from corten.engine.containers.registry import Registry
from corten.engine.containers.remove import Remover
from corten.engine.containers.rename import Renamer
from corten.engine.containers.security import SeccompFilters
from corten.engine.containers.service import ContainerService
from corten.engine.containers.settings import ContainerSettings
from corten.engine.containers.start import Starter
from corten.engine.containers.stop import Stopper
from corten.engine.containers.tasks import Tasks
from corten.engine.containers.update import Updater
from corten.engine.containers.users import AccountFiles
from corten.engine.containers.volumes import MountSetup
from corten.engine.events import Events
from corten.engine.networks.host_resolv import HostResolvConf
from corten.lib import blocking
from corten.linux.cgroup import open_cgroup
from corten.shim.client import Callbacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """What wire.py needs of all this.

    Order at start: `living = await recovery.observe()`, `await networks.recover(living)`, `await recovery.finish()`,
    then serve, then `await warm()`. At the end: `await close()`.
    """

    registry: Registry
    service: ContainerService
    attach: AttachService
    execs: ExecService
    directory: Directory
    supervisor: Supervisor
    recovery: Recovery
    health: HealthChecks
    tasks: Tasks
    seccomp: SeccompFilters

    def callbacks(self, *, on_warm: Callable[[str, int], None], on_cold: Callable[[str], None]) -> Callbacks:
        """What shims call; give it to Shims before the first prepare (`shims.callbacks = ...`)."""
        return Callbacks(
            on_exit=self.supervisor.on_exit,
            on_exec_exit=self.execs.on_exec_exit,
            on_oom=self.supervisor.on_oom,
            on_detach=self.attach.on_detach,
            on_lost=self.supervisor.on_lost,
            on_warm=on_warm,
            on_cold=on_cold,
        )

    async def warm(self) -> None:
        """Off every client's path: compile the default filters, so that the first start finds them."""
        await blocking.run(self.seccomp.warm)

    async def close(self) -> None:
        """No more restarts and probes; what is under way is finished. Containers go on."""
        self.supervisor.close()
        self.health.close()
        await self.tasks.settle()


def assemble(
    *,
    settings: ContainerSettings,
    table: Table,
    images: Images,
    snapshots: Snapshots,
    networks: Networks,
    volumes: Volumes,
    shims: ShimPool,
    events: Events,
    host_resolv: HostResolvConf,
    image_size: Callable[[str], int] = lambda _image_id: 0,
    cgroups: Callable[[str], CgroupControl] = open_cgroup,
) -> Assembled:
    """Everything about containers, from what it works with."""
    registry, tasks = Registry(table), Tasks()
    mounts = MountSetup(registry=registry, volumes=volumes, snapshots=snapshots)
    files = NetworkFileWriter(settings=settings, registry=registry, host_resolv=host_resolv)
    accounts = AccountFiles(partial(snapshots.root_fd, writable=False))
    seccomp = SeccompFilters(settings.exec_root / "seccomp", settings.seccomp_profile)
    launcher = Launcher(
        settings=settings,
        registry=registry,
        accounts=accounts,
        seccomp=seccomp,
        files=files,
        cdi_devices=CdiDirectories(settings.cdi_directories),
    )
    creator = Creator(
        settings=settings,
        registry=registry,
        images=images,
        snapshots=snapshots,
        networks=networks,
        shims=shims,
        mounts=mounts,
        events=events,
    )
    starter = Starter(
        settings=settings,
        registry=registry,
        shims=shims,
        snapshots=snapshots,
        networks=networks,
        mounts=mounts,
        launcher=launcher,
        files=files,
        events=events,
        tasks=tasks,
    )
    stopper = Stopper(
        registry=registry, events=events, starter=starter, networks=networks, tasks=tasks, open_cgroup=cgroups
    )
    remover = Remover(
        settings=settings,
        registry=registry,
        shims=shims,
        snapshots=snapshots,
        mounts=mounts,
        stopper=stopper,
        events=events,
        tasks=tasks,
    )
    starter.on_failed = remover.remove_after_failed_start
    supervisor = Supervisor(
        settings=settings,
        registry=registry,
        shims=shims,
        networks=networks,
        mounts=mounts,
        starter=starter,
        remover=remover,
        events=events,
        tasks=tasks,
        open_cgroup=cgroups,
    )
    execs = ExecService(registry=registry, launcher=launcher, snapshots=snapshots, events=events, tasks=tasks)
    attach = AttachService(registry=registry, events=events, tasks=tasks, execs=execs)
    health = HealthChecks(registry=registry, execs=execs, events=events, tasks=tasks)
    events.listen(health.on_event)

    def ended(container: Container) -> None:
        execs.container_ended(container)
        health.stop(container)

    supervisor.on_ended = ended
    supervisor.on_adopted = health.begin
    service = ContainerService(
        registry=registry,
        creator=creator,
        starter=starter,
        stopper=stopper,
        remover=remover,
        lister=Lister(
            settings=settings,
            registry=registry,
            images=images,
            snapshots=snapshots,
            files=files,
            image_size=image_size,
        ),
        updater=Updater(settings=settings, registry=registry, events=events, open_cgroup=cgroups),
        renamer=Renamer(registry=registry, events=events),
        pruner=Pruner(registry=registry, remover=remover, snapshots=snapshots, events=events),
    )
    recovery = Recovery(
        settings=settings,
        registry=registry,
        mounts=mounts,
        networks=networks,
        shims=shims,
        snapshots=snapshots,
        supervisor=supervisor,
        remover=remover,
        starter=starter,
        tasks=tasks,
    )
    return Assembled(
        registry=registry,
        service=service,
        attach=attach,
        execs=execs,
        directory=Directory(registry, files, events),
        supervisor=supervisor,
        recovery=recovery,
        health=health,
        tasks=tasks,
        seccomp=seccomp,
    )
