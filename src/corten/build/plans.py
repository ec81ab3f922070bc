"""Plans of Dockerfiles that were built lately: the same file, asked the same, upon the same images, is lowered once.

A plan is a pure function of these three (`dockerfile.lower`) and never changed, so builds share it. Which images a name
means is asked in each build, in the order in which the lowering asked. Not kept are large ones, and those upon results
of other builds, whose names never come again. Daemon's loop; lowering is done in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corten.build.dockerfile.lower import Round, lower
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile
from corten.build.given import is_given
from corten.build.plan import Base, BaseImages, Plan
from corten.build.sources.source import Recipe
from corten.engine.images.settled import all_of
from corten.lib import blocking, codec

_PLANS = 16
_LARGE = 64 << 10  # bytes of what is asked whose plan is not kept: it may take a hundred times as much
_Key = tuple[bytes, tuple[str, ...], bytes]


@dataclass(frozen=True, slots=True)
class _Known:
    rounds: tuple[Round, ...]
    plan: Plan


class Plans:
    """The last ones; one a daemon."""

    def __init__(self) -> None:
        self._known: dict[_Key, _Known] = {}  # the one used last comes last

    async def plan(self, recipe: Recipe, request: BuildRequest, images: BaseImages) -> Plan:
        """The plan of a build. Raises DockerfileError, ParseError, and whatever `images` raises."""
        patterns = recipe.ignored.patterns if recipe.ignored is not None else ()
        key = (recipe.source.data, patterns, codec.encode(request))
        known = self._known.pop(key, None)
        if known is None or not await _mean_the_same(known.rounds, images):
            rounds: list[Round] = []
            dockerfile = await blocking.run(parse_dockerfile, recipe.source.data)
            plan = await lower(dockerfile, request, images, ignored=recipe.ignored, rounds=rounds)
            known = _Known(tuple(rounds), plan)
        if _comes_again(key, request):
            self._known[key] = known
            if len(self._known) > _PLANS:
                del self._known[next(iter(self._known))]
        return known.plan


def _comes_again(key: _Key, request: BuildRequest) -> bool:
    """Whether the same may well be asked again, and its plan is not too large to be kept until then."""
    data, patterns, asked = key
    size = len(data) + sum(map(len, patterns)) + len(asked)
    return size <= _LARGE and not any(map(is_given, request.contexts.values()))


async def _mean_the_same(rounds: Sequence[Round], images: BaseImages) -> bool:
    """Whether the names that a lowering asked for mean what they did; others are not asked for."""
    for asked, answers in rounds:
        found = await all_of(images.resolve(image.reference, image.platform) for image in asked)
        if list(map(_identity, found)) != list(map(_identity, answers)):
            return False
    return True


def _identity(base: Base) -> tuple[str, str]:
    return base.image_id, base.digest
