"""A build from its source to its result: parsed, lowered, its contexts brought, solved. Daemon's loop.

Each API has a face of its own (`classic.py` for POST /build) that says how its client hears of the build and what
becomes of the result. Cancelling the task cancels the build.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from corten.build.bases import Bases, Puller
from corten.build.builder import Builder, BuildInputs
from corten.build.cache import BuildCache
from corten.build.cache_upkeep import CacheUpkeep
from corten.build.caching.collecting import Collected
from corten.build.caching.imports import Imports
from corten.build.caching.travel import CacheTravel, Directories, NoDirectories, Traveller, carrying_its_cache
from corten.build.diagnosis import FailedStep
from corten.build.dockerfile.lower import lower
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile
from corten.build.face import Face, Offers
from corten.build.lazy_layers import ImportLost, LazyLayers
from corten.build.ops.run import RunSettings
from corten.build.options import BuildOptions
from corten.build.outputs import Built
from corten.build.plan import Plan
from corten.build.sources.source import BuildSource
from corten.build.sources.wanted import wanted
from corten.engine.containers.create import egress_rules
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.engine.images.settled import settled
from corten.errors import InvalidArgument
from corten.lib import blocking
from corten.spec import platform as platforms
from corten.spec.docker.progress import stream_line
from corten.store.gc import Node
from corten.store.leases import Lease

_DEFAULT_NETWORK = ("", "default", "bridge")
_EPOCH = "SOURCE_DATE_EPOCH"
_EPOCH_LIMIT = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One build: what is asked, where its files come from, what its client offers, and how it hears of it.

    `directories` of the client hold caches. Without `whole` layers of the result may be elsewhere still: `Result.lazy`
    brings them.
    """

    options: BuildOptions
    source: BuildSource
    offers: Offers
    face: Face
    directories: Directories = field(default_factory=NoDirectories)
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a build gave; `lease` keeps it, and `lazy` brings what is missing of it (see Job)."""

    plan: Plan
    built: Built
    lease: Lease
    lazy: LazyLayers


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
        travel: CacheTravel,
    ) -> None:
        self._travel = travel
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
        options = job.options
        try:
            async with self._leased() as lease:
                lazy, imports = self._lazy(job), Imports()
                traveller = Traveller(
                    lazy=lazy, lease=lease, offers=job.offers, say=job.face.pulling, directories=job.directories
                )
                platform = platforms.parse(options.platform) if options.platform else platforms.host_platform()
                bringing = asyncio.ensure_future(
                    self._travel.bring(options.cache_from if options.use_cache else (), imports, platform, traveller)
                )
                try:
                    plan, bases = await self._lowered(job, lease, lazy)
                    contexts = {name: await job.source.context(name, paths) for name, paths in wanted(plan).items()}
                    await bringing
                finally:
                    bringing.cancel()
                    await settled([bringing])
                inputs = BuildInputs(
                    contexts=contexts,
                    bases=bases.filesystems,
                    settings=_settings(options),
                    offers=job.offers,
                    lease=lease,
                    lazy=lazy,
                    imports=imports,
                    say=job.face.pulling,
                    use_cache=options.use_cache,
                    epoch_s=epoch_s,
                    whole=job.whole,
                    collect=bool(options.cache_to),
                )
                built, collected = await self._built(plan, inputs, job.face, progress)
                if any(one.kind == "inline" for one in options.cache_to):
                    built = carrying_its_cache(built, collected.of_result(built.filesystem))
                yield Result(plan=plan, built=built, lease=lease, lazy=lazy)
                await self._travel.carry(options.cache_to, collected, built, traveller)
        finally:
            await self._upkeep.trim()

    async def _built(self, plan: Plan, inputs: BuildInputs, face: Face, progress: Progress) -> tuple[Built, Collected]:
        """The result; once more without imported caches when one has promised what cannot be had."""
        try:
            return await self._builder.run(plan, inputs, face, progress)
        except FailedStep as error:
            if not isinstance(error.reason, ImportLost):
                raise
            inputs.say(stream_line(f"[Warning] {error.reason}; the build goes on without imported caches\n"))
            inputs.imports.clear()
            inputs.lazy.forget_imports()
        return await self._builder.run(plan, inputs, face, progress)

    def _lazy(self, job: Job) -> LazyLayers:
        return LazyLayers(bringer=self._puller, is_here=self._library.has_node, say=job.face.pulling)

    async def check(self, job: Job) -> None:
        """Tell the face what the checks find, and build nothing. Raises as `solved`."""
        async with self._leased() as lease:
            await self._lowered(job, lease, self._lazy(job))

    async def _lowered(self, job: Job, lease: Lease, lazy: LazyLayers) -> tuple[Plan, Bases]:
        recipe = await job.source.recipe()
        job.face.begun(recipe.source)
        dockerfile = await blocking.run(parse_dockerfile, recipe.source.data)
        bases = Bases(
            library=self._library,
            puller=self._puller,
            lazy=lazy,
            lease=lease,
            offers=job.offers,
            always_pull=job.options.pull,
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


def _settings(options: BuildOptions) -> RunSettings:
    return RunSettings(host=options.host, remove=options.remove, remove_failed=options.remove_failed)


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
