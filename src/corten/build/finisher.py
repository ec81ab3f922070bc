"""From what was solved to what is exported: squashed, and with what is said of it. Daemon's loop; every face's."""

from __future__ import annotations

from corten.build.attestations.statement import Predicate
from corten.build.attestations.wishes import Attests, ProvenanceWish
from corten.build.attestor import Attestor
from corten.build.export import steps_of
from corten.build.exporters.result import PlatformImage
from corten.build.options import BuildOptions
from corten.build.plan import Plan
from corten.build.service import PlatformResult, Result
from corten.build.squash import Squasher
from corten.engine.images.progress import Progress

_RECORDED = "v0.2"  # which all clients read


class Finisher:
    """One a daemon."""

    def __init__(self, *, squasher: Squasher, attestor: Attestor) -> None:
        self._squasher = squasher
        self._attestor = attestor

    async def images(self, options: BuildOptions, result: Result, progress: Progress) -> list[PlatformImage]:
        """Each platform's image. Raises OSError, InvalidArgument."""
        return [await self._image(options, result, one, progress) for one in result.platforms]

    async def recorded(self, options: BuildOptions, result: Result, progress: Progress) -> list[tuple[str, Predicate]]:
        """Provenance for the record of a build, by platform, whether or not any was asked for. Raises OSError."""
        asked = options.attests.provenance
        wish = ProvenanceWish(
            mode="max",
            version=asked.version if asked is not None else _RECORDED,
            builder_id=asked.builder_id if asked is not None else "",
        )
        facts = self._attestor.facts(options, result.source, result.materials, result.started_ns, result.finished_ns)
        return [
            (str(one.built.image.platform), predicate)
            for one in result.platforms
            for predicate in await self._attestor.predicates(
                Attests(provenance=wish), facts, one.plan, one.built, result.materials, progress, epoch_s=result.epoch_s
            )
        ]

    async def _image(
        self, options: BuildOptions, result: Result, one: PlatformResult, progress: Progress
    ) -> PlatformImage:
        built = one.built
        if options.squash:
            built = await self._squasher.squash(built, _base_id(one.plan), result.epoch_s, result.lease, progress)
        if not options.attests.any:
            return PlatformImage(built=built)
        facts = self._attestor.facts(options, result.source, result.materials, result.started_ns, result.finished_ns)
        predicates = await self._attestor.predicates(
            options.attests, facts, one.plan, built, result.materials, progress, epoch_s=result.epoch_s
        )
        return PlatformImage(built=built, predicates=predicates)


def _base_id(plan: Plan) -> str:
    """The id of the image that the target stands on; empty for scratch."""
    base, _steps = steps_of(plan.target)
    return base.image_id if base is not None else ""
