"""A build from its source to its result: parsed, lowered, its contexts brought, solved. Daemon's loop.

Each API has a face of its own (`classic.py` for POST /build) that says how its client hears of the build and what
becomes of the result. Cancelling the task cancels the build.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from corten.build.attestations.material import Material
from corten.build.bases import Bases, Puller
from corten.build.builder import Builder, BuildInputs
from corten.build.cache import BuildCache
from corten.build.cache_upkeep import CacheUpkeep
from corten.build.caching.collecting import Collected
from corten.build.caching.directories import Directories, NoDirectories
from corten.build.caching.options import CacheImport
from corten.build.caching.travel import CacheTravel, Traveller, carrying_its_cache
from corten.build.calls.results import answer
from corten.build.diagnosis import FailedStep
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile
from corten.build.entitlements import NETWORK_HOST, DeviceInfo, Powers, check, granted, wants_devices
from corten.build.exporters.request import CacheOnly, ImageExport, Layout, image_name
from corten.build.face import Face, Offers
from corten.build.filesystem import FileSystem
from corten.build.given import Given, is_given
from corten.build.lazy_layers import ImportLost, LazyLayers
from corten.build.ops.failed_step import KeptStep
from corten.build.ops.run import RunSettings
from corten.build.options import BuildOptions
from corten.build.outputs import Built
from corten.build.plan import Base, Plan
from corten.build.plans import Plans
from corten.build.sources.source import BuildSource, Recipe
from corten.build.sources.wanted import wanted
from corten.engine.containers.create import egress_rules
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress
from corten.engine.images.settled import all_of
from corten.errors import InvalidArgument
from corten.lib import blocking
from corten.spec import platform as platforms
from corten.spec.docker.lint import SourceFile
from corten.spec.reference import Reference
from corten.store.gc import Node
from corten.store.leases import Lease

_DEFAULT_NETWORK = ("", "default", "bridge")
_EPOCH = "SOURCE_DATE_EPOCH"
_EPOCH_LIMIT = 1 << 40
_PLATFORMS_LIMIT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One build: what is asked, where its files come from, what its client offers, and how it hears of it.

    `directories` of the client hold caches; with `kept`, a step that fails is kept there, which the caller closes.
    `given` are results of other builds, by the values of named contexts.
    """

    options: BuildOptions
    source: BuildSource
    offers: Offers
    face: Face
    kept: KeptStep | None = None
    directories: Directories = field(default_factory=NoDirectories)
    given: Mapping[str, Given] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformResult:
    """What a build gave for one platform."""

    plan: Plan
    built: Built


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a build gave for each platform, in the order asked for; `lease` keeps it. Times are in nanoseconds.

    `carry` brings the build's cache to where it is wanted, and is called when the result is where it belongs; it
    gives what BuildKit's exporters answer. Raises CacheNotExported. `have` brings layers that are elsewhere.
    """

    platforms: tuple[PlatformResult, ...]
    source: SourceFile
    lease: Lease
    epoch_s: int | None
    started_ns: int
    finished_ns: int
    materials: tuple[Material, ...] = ()
    carry: Callable[[], Awaitable[dict[str, str]]]
    have: Callable[[FileSystem], Awaitable[None]]

    @property
    def plan(self) -> Plan:
        """That of the first platform."""
        return self.platforms[0].plan

    @property
    def built(self) -> Built:
        """That of the first platform."""
        return self.platforms[0].built


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
        powers: Powers,
    ) -> None:
        self._plans = Plans()
        self._travel = travel
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
        epoch_s = source_date_epoch(job.options.build_args)
        started_ns = time.time_ns()
        options = job.options
        try:
            async with self._leased() as lease:
                traveller = self._traveller(job, lease)
                async with self._travel.bringing(_imports(options), traveller) as brought:
                    recipe, lowered = await self._lowered(job, traveller)
                    devices = await self._allowed(options, [plan for plan, _bases in lowered])
                    paths = wanted(plan for plan, _bases in lowered)
                    contexts = {name: await job.source.context(name, taken) for name, taken in paths.items()}
                    imports = await brought
                inputs = BuildInputs(
                    contexts=contexts,
                    bases={key: found for _plan, bases in lowered for key, found in bases.filesystems.items()},
                    settings=_settings(job, devices),
                    offers=job.offers,
                    traveller=traveller,
                    imports=imports,
                    use_cache=options.use_cache,
                    afresh=frozenset(options.no_cache_stages),
                    epoch_s=epoch_s,
                    whole=_is_read(options),
                    collect=bool(options.cache_to),
                )
                plans = [plan for plan, _bases in lowered]
                solved = await self._pushable(plans, inputs, options, job.face, progress)
                yield Result(
                    platforms=tuple(
                        PlatformResult(plan=plan, built=built)
                        for plan, (built, _found) in zip(plans, solved, strict=True)
                    ),
                    source=recipe.source,
                    lease=lease,
                    epoch_s=epoch_s,
                    started_ns=started_ns,
                    finished_ns=time.time_ns(),
                    materials=recipe.materials,
                    carry=partial(self._travel.carry, options.cache_to, solved, traveller),
                    have=traveller.lazy.have,
                )
        finally:
            await self._upkeep.trim()

    async def _pushable(
        self, plans: Sequence[Plan], inputs: BuildInputs, options: BuildOptions, face: Face, progress: Progress
    ) -> list[tuple[Built, Collected]]:
        """The result for each plan, of which all is here that registries lack; once more without imported caches when
        one has promised what cannot be had."""
        try:
            return await self._with_pushed_layers(plans, inputs, options, face, progress)
        except ImportLost as error:
            inputs.traveller.give_up(inputs.imports, error)
        return await self._with_pushed_layers(plans, inputs, options, face, progress)

    async def _with_pushed_layers(
        self, plans: Sequence[Plan], inputs: BuildInputs, options: BuildOptions, face: Face, progress: Progress
    ) -> list[tuple[Built, Collected]]:
        """As `_pushable`, once. Raises ImportLost."""
        solved = await all_of(self._built(plan, inputs, face, progress) for plan in plans)
        if not options.squash and any(one.kind == "inline" for one in options.cache_to):
            solved = [(carrying_its_cache(built, found), found) for built, found in solved]
        for name in _pushed(options):
            await self._travel.prepare(name, [built for built, _found in solved], inputs.traveller)
        return solved

    async def _built(self, plan: Plan, inputs: BuildInputs, face: Face, progress: Progress) -> tuple[Built, Collected]:
        """The result; once more without imported caches when one has promised what cannot be had."""
        try:
            return await self._builder.run(plan, inputs, face, progress)
        except FailedStep as error:
            if not isinstance(error.reason, ImportLost):
                raise
            inputs.traveller.give_up(inputs.imports, error.reason)
        return await self._builder.run(plan, inputs, face, progress)

    def _traveller(self, job: Job, lease: Lease) -> Traveller:
        say = job.face.pulling
        lazy = LazyLayers(bringer=self._puller, is_here=self._library.has_node, say=say)
        return Traveller(lazy=lazy, lease=lease, offers=job.offers, say=say, directories=job.directories)

    async def call(self, job: Job) -> Mapping[str, str]:
        """Answer what the options call instead of a build (calls/results.py). Raises DockerfileError."""
        recipe = await job.source.recipe()
        job.face.begun(recipe.source)
        dockerfile = await blocking.run(parse_dockerfile, recipe.source.data)
        platform = split_platforms(job.options.platform)[0]
        return await blocking.run(
            answer, job.options.call, dockerfile, _request(job.options, platform), recipe.source.data
        )

    async def image(self, job: Job, reference: str, platform: str) -> tuple[str, bytes]:
        """The digest that an image's name means, and the image's configuration. Raises ImageNotFound, RegistryError,
        InvalidReference."""
        async with self._leased() as lease:
            bases = self._bases(job, self._traveller(job, lease))
            base = await bases.resolve(reference, platform)
            return base.digest or base.image_id, await bases.config(base)

    async def check(self, job: Job) -> None:
        """Tell the face what the checks find, and build nothing. Raises as `solved`."""
        async with self._leased() as lease:
            await self._lowered(job, self._traveller(job, lease))

    async def _allowed(self, options: BuildOptions, plans: Sequence[Plan]) -> Mapping[str, DeviceInfo]:
        """The host's devices, if the build wants any. Raises DockerfileError, NotAllowed, InvalidArgument."""
        asked = (*options.allow, NETWORK_HOST) if options.host.network_mode == "host" else options.allow
        given = granted(asked, self._powers.supported)
        targets = [plan.target.steps[-1].vertex for plan in plans]
        devices = await blocking.run(self._powers.devices) if any(map(wants_devices, targets)) else {}
        for target in targets:
            check(target, given, devices)
        return devices

    async def _lowered(self, job: Job, traveller: Traveller) -> tuple[Recipe, list[tuple[Plan, Bases]]]:
        """The plan for each platform, and its base images; those of one platform come before the next one's."""
        platforms_asked = split_platforms(job.options.platform)
        recipe = await job.source.recipe()
        job.face.begun(recipe.source)
        lowered = []
        for platform in platforms_asked:
            bases = self._bases(job, traveller)
            images = _ToldImages(bases, job.face)
            plan = await self._plans.plan(recipe, _request(job.options, platform), images)
            lowered.append((plan, bases))
        job.face.checked(lowered[0][0].findings, recipe.source)
        return recipe, lowered

    def _bases(self, job: Job, traveller: Traveller) -> Bases:
        return Bases(
            library=self._library,
            puller=self._puller,
            lazy=traveller.lazy,
            lease=traveller.lease,
            offers=job.offers,
            always_pull=job.options.pull,
            directories=job.directories,
            pairs=self._travel.pairs,
            given=job.given,
        )

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


def _is_read(options: BuildOptions) -> bool:
    """Whether the exporters read the result's layers: those of a push that are elsewhere may stay there, unless
    something is made of them."""
    if options.squash or options.attests.sbom or options.build_args.get(_EPOCH):
        return True
    return not all(
        isinstance(export, CacheOnly)
        or (isinstance(export, ImageExport) and not export.store and export.layout == Layout())
        for export in options.exports
    )


def _pushed(options: BuildOptions) -> list[Reference]:
    """The names that a result is pushed under, if it need not be here."""
    if _is_read(options):
        return []
    exports = [export for export in options.exports if isinstance(export, ImageExport)]
    own = [image_name(name) for name in options.names]
    return [name for export in exports for name in export.names or own]


def _imports(options: BuildOptions) -> tuple[CacheImport, ...]:
    return options.cache_from if options.use_cache and not options.is_check else ()


@dataclass(frozen=True, slots=True)
class _ToldImages:
    """Images, as the face is told of them."""

    _bases: Bases
    _face: Face

    async def resolve(self, reference: str, platform: str) -> Base:
        """See plan.BaseImages."""
        if is_given(reference):
            return await self._bases.resolve(reference, platform)
        with self._face.resolving(reference):
            return await self._bases.resolve(reference, platform)


def _settings(job: Job, devices: Mapping[str, DeviceInfo]) -> RunSettings:
    options = job.options
    return RunSettings(
        host=options.host,
        remove=options.remove,
        remove_failed=options.remove_failed,
        devices=devices,
        kept=job.kept,
    )


def split_platforms(text: str) -> list[str]:
    """What `--platform` names, in normal form, each once; one empty text for the builder's own. Raises
    InvalidArgument."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > _PLATFORMS_LIMIT:
        raise InvalidArgument(f"a build can be for {_PLATFORMS_LIMIT} platforms at most")
    if len(parts) < 2:
        return parts or [""]
    return list(dict.fromkeys(str(platforms.parse(part)) for part in parts))


def _request(options: BuildOptions, platform: str) -> BuildRequest:
    return BuildRequest(
        build_args=dict(options.build_args),
        target=options.target,
        platform=platform,
        labels=dict(options.labels),
        contexts=dict(options.contexts),
        network="" if options.host.network_mode in _DEFAULT_NETWORK else options.host.network_mode,
        hosts=tuple(options.host.extra_hosts or ()),
        egress=egress_rules(options.host),
        is_check=options.is_check,
    )


def source_date_epoch(build_args: Mapping[str, str | None]) -> int | None:
    """SOURCE_DATE_EPOCH in seconds, None without. Raises InvalidArgument."""
    text = build_args.get(_EPOCH)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and int(text) < _EPOCH_LIMIT):
        raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {text[:32]}")
    return int(text)
