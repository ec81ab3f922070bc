"""A build from its source to its result: parsed, lowered, its contexts brought, solved. Daemon's loop.

Each API has a face of its own (`classic.py` for POST /build) that says how its client hears of the build and what
becomes of the result. Cancelling the task cancels the build.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from corten.build.bases import Bases, Puller
from corten.build.builder import Builder, BuildInputs
from corten.build.cache import BuildCache
from corten.build.cache_upkeep import CacheUpkeep
from corten.build.dockerfile.lower import lower
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile
from corten.build.entitlements import NETWORK_HOST, DeviceInfo, Powers, check, granted, wants_devices
from corten.build.face import Face, Offers
from corten.build.ops.run import RunSettings
from corten.build.options import BuildOptions
from corten.build.outputs import Built
from corten.build.plan import Plan
from corten.build.sources.source import BuildSource
from corten.build.sources.wanted import wanted
from corten.engine.containers.create import egress_rules
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.errors import InvalidArgument
from corten.lib import blocking
from corten.store.gc import Node
from corten.store.leases import Lease

_DEFAULT_NETWORK = ("", "default", "bridge")
_EPOCH = "SOURCE_DATE_EPOCH"
_EPOCH_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One build: what is asked, where its files come from, what its client offers, and how it hears of it."""

    options: BuildOptions
    source: BuildSource
    offers: Offers
    face: Face


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a build gave; `lease` keeps it."""

    plan: Plan
    built: Built
    lease: Lease


class BuildService:
    """Builds; one a daemon."""

    def __init__(
        self,
        *,
        builder: Builder,
        cache: BuildCache,
        upkeep: CacheUpkeep,
        library: ImageLibrary,
        puller: Puller,
        powers: Powers,
    ) -> None:
        self._powers = powers
        self._builder = builder
        self._cache = cache
        self._upkeep = upkeep
        self._library = library
        self._puller = puller

    @asynccontextmanager
    async def solved(self, job: Job, progress: Progress) -> AsyncIterator[Result]:
        """Build the target; what it gave stays as long as the block. Raises FailedStep, InvalidArgument, NotFound,
        RegistryError, OSError."""
        epoch_s = _epoch(job.options)
        try:
            async with self._leased() as lease:
                plan, bases = await self._lowered(job, lease)
                devices = await self._allowed(job.options, plan)
                inputs = BuildInputs(
                    contexts={name: await job.source.context(name, paths) for name, paths in wanted(plan).items()},
                    bases=bases.filesystems,
                    settings=_settings(job.options, devices),
                    offers=job.offers,
                    lease=lease,
                    use_cache=job.options.use_cache,
                    epoch_s=epoch_s,
                )
                built = await self._builder.run(plan, inputs, job.face, progress)
                yield Result(plan=plan, built=built, lease=lease)
        finally:
            await self._upkeep.trim()

    async def check(self, job: Job) -> None:
        """Tell the face what the checks find, and build nothing. Raises as `solved`."""
        async with self._leased() as lease:
            await self._lowered(job, lease)

    async def _allowed(self, options: BuildOptions, plan: Plan) -> Mapping[str, DeviceInfo]:
        """The host's devices, if the build wants any. Raises DockerfileError, NotAllowed, InvalidArgument."""
        asked = (*options.allow, NETWORK_HOST) if options.host.network_mode == "host" else options.allow
        given = granted(asked, self._powers.supported)
        target = plan.target.steps[-1].vertex
        devices = await blocking.run(self._powers.devices) if wants_devices(target) else {}
        check(target, given, devices)
        return devices

    async def _lowered(self, job: Job, lease: Lease) -> tuple[Plan, Bases]:
        recipe = await job.source.recipe()
        job.face.begun(recipe.source)
        dockerfile = await blocking.run(parse_dockerfile, recipe.source.data)
        bases = Bases(
            library=self._library,
            puller=self._puller,
            lease=lease,
            offers=job.offers,
            always_pull=job.options.pull,
            say=job.face.pulling,
        )
        plan = await lower(dockerfile, _request(job.options), bases, ignored=recipe.ignored)
        job.face.checked(plan.findings, recipe.source)
        return plan, bases

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[Lease]:
        """Keep what a build finds and makes; what nothing else keeps afterwards (a download) is deleted."""
        keys: list[str] = []
        try:
            async with self._library.lease([]) as lease:
                try:
                    yield lease
                finally:
                    keys = lease.keys
        finally:
            nodes = [Node(kind, key) for key in keys for kind in ("blob", "layer")]
            await self._library.discard([*nodes, *self._cache.take_replaced()])


def _settings(options: BuildOptions, devices: Mapping[str, DeviceInfo]) -> RunSettings:
    return RunSettings(host=options.host, remove=options.remove, remove_failed=options.remove_failed, devices=devices)


def _request(options: BuildOptions) -> BuildRequest:
    return BuildRequest(
        build_args=dict(options.build_args),
        target=options.target,
        platform=options.platform,
        labels=dict(options.labels),
        contexts=dict(options.contexts),
        network="" if options.host.network_mode in _DEFAULT_NETWORK else options.host.network_mode,
        hosts=tuple(options.host.extra_hosts or ()),
        egress=egress_rules(options.host),
        is_check=options.is_check,
    )


def _epoch(options: BuildOptions) -> int | None:
    """SOURCE_DATE_EPOCH in seconds. Raises InvalidArgument."""
    text = options.build_args.get(_EPOCH)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and int(text) < _EPOCH_LIMIT):
        raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {text[:32]}")
    return int(text)
