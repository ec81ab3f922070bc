"""A Dockerfile that is built again upon the same images is not lowered again, and never given another one's plan."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.build.planned import Images

from corten.build.dockerfile.dockerignore import Matcher
from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.stages import BuildRequest
from corten.build.given import PREFIX
from corten.build.plan import Base
from corten.build.plans import Plans
from corten.build.sources.source import Recipe
from corten.errors import NotFound
from corten.spec.docker.lint import SourceFile
from corten.spec.oci_image import ImageConfig

TEXT = b"FROM base\nARG A\nRUN echo $A\nCOPY --from=other /f /\n"
REQUEST = BuildRequest(build_platform="linux/amd64")
IMAGES = {"base": ImageConfig(on_build=["COPY --from=third / /t"]), "other": ImageConfig(), "third": ImageConfig()}


class Moving(Images):
    """Images of which some have become other ones."""

    moved: frozenset[str] = frozenset()

    async def resolve(self, reference: str, platform: str) -> Base:
        base = await super().resolve(reference, platform)
        return replace(base, image_id=f"{base.image_id}-moved") if reference in self.moved else base


def recipe(text: bytes = TEXT, patterns: list[str] | None = None) -> Recipe:
    ignored = None if patterns is None else Matcher(patterns)
    return Recipe(source=SourceFile(filename="Dockerfile", data=text), ignored=ignored)


def images(*moved: str) -> Moving:
    found = Moving(IMAGES)
    found.moved = frozenset(moved)
    return found


async def test_the_same_build_has_the_same_plan_and_asks_for_the_same_images() -> None:
    plans, first, second = Plans(), images(), images()
    plan = await plans.plan(recipe(), REQUEST, first)
    assert await plans.plan(recipe(), REQUEST, second) is plan
    assert sorted(second.asked) == sorted(first.asked) == [("base", ""), ("other", ""), ("third", "")]


@pytest.mark.parametrize(
    ("changed", "request_"),
    [
        (recipe(TEXT + b"\n"), REQUEST),
        (recipe(patterns=["f"]), REQUEST),
        (recipe(), replace(REQUEST, build_args={"A": "1"})),
        (recipe(), replace(REQUEST, platform="linux/arm64")),
        (recipe(), replace(REQUEST, egress=())),
        (recipe(), replace(REQUEST, hosts=("a:1.2.3.4",))),
    ],
)
async def test_whatever_is_asked_otherwise_is_planned_anew(changed: Recipe, request_: BuildRequest) -> None:
    plans = Plans()
    plan = await plans.plan(recipe(), REQUEST, images())
    assert await plans.plan(changed, request_, images()) is not plan
    assert await plans.plan(recipe(), REQUEST, images()) is plan


@pytest.mark.parametrize("name", sorted(IMAGES))
async def test_an_image_that_is_another_one_now_is_planned_upon(name: str) -> None:
    plans = Plans()
    plan = await plans.plan(recipe(), REQUEST, images())
    later = await plans.plan(recipe(), REQUEST, images(name))
    assert later is not plan
    assert later.target.steps[-1].vertex != plan.target.steps[-1].vertex
    assert await plans.plan(recipe(), REQUEST, images(name)) is later


async def test_what_only_the_former_image_wanted_is_not_asked_for() -> None:
    plans, without = Plans(), Images({"base": ImageConfig(), "other": ImageConfig()})
    await plans.plan(recipe(), REQUEST, images())
    with pytest.raises(NotFound):  # the base is the same one, as far as anybody can tell: its trigger counts
        await plans.plan(recipe(), REQUEST, without)
    moved = Moving({"base": ImageConfig(), "other": ImageConfig()})
    moved.moved = frozenset({"base"})
    await plans.plan(recipe(), REQUEST, moved)
    assert "third" not in [reference for reference, _platform in moved.asked]


async def test_a_mistake_is_found_each_time() -> None:
    plans = Plans()
    for _ in range(2):
        with pytest.raises(DockerfileError):
            await plans.plan(recipe(b"FROM base\nCOPY --from=9 / /\nEXPOSE x\n"), REQUEST, images())


async def test_those_used_last_are_kept() -> None:
    plans = Plans()
    texts = [b"FROM base\nLABEL n=%d\n" % number for number in range(17)]
    first = [await plans.plan(recipe(text), REQUEST, images()) for text in texts[:16]]
    assert await plans.plan(recipe(texts[0]), REQUEST, images()) is first[0]
    await plans.plan(recipe(texts[16]), REQUEST, images())
    assert await plans.plan(recipe(texts[0]), REQUEST, images()) is first[0]
    assert await plans.plan(recipe(texts[1]), REQUEST, images()) is not first[1]


@pytest.mark.parametrize(
    ("what", "request_"),
    [
        (recipe(b"FROM base\n" + b"# a comment\n" * 6000), REQUEST),
        (recipe(patterns=[f"file{number}" for number in range(9000)]), REQUEST),
        (recipe(), replace(REQUEST, build_args={"A": "a" * (64 << 10)})),
        (recipe(), replace(REQUEST, contexts={"x": f"{PREFIX}{'a' * 40}"})),
    ],
    ids=["Dockerfile", "patterns", "arguments", "result of a build"],
)
async def test_what_is_large_or_never_comes_again_is_not_kept(what: Recipe, request_: BuildRequest) -> None:
    plans = Plans()
    kept = await plans.plan(recipe(), REQUEST, images())
    first = [await plans.plan(what, request_, images()) for _ in range(17)]
    assert len(set(map(id, first))) == 17
    assert await plans.plan(recipe(), REQUEST, images()) is kept


async def test_builds_at_once_have_each_a_plan() -> None:
    plans = Plans()
    found = await asyncio.gather(*(plans.plan(recipe(), REQUEST, images()) for _ in range(8)))
    assert len({plan.target.steps[-1].vertex for plan in found}) == 1
