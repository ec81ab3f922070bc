"""Base images are resolved side by side, and none goes on when another cannot be had."""

from __future__ import annotations

import asyncio

import pytest

from corten.build.dockerfile.lower import lower
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile
from corten.build.plan import Base
from corten.errors import NotFound
from corten.spec.oci_image import Image

DOCKERFILE = parse_dockerfile(b"FROM base\nCOPY --from=one / /\nCOPY --from=two / /\n")


class Images:
    """A base, and two images that wait for each other; or one that cannot be had."""

    def __init__(self, *, missing: str = "") -> None:
        self._missing = missing
        self._met = asyncio.Barrier(2)
        self.cancelled: list[str] = []

    async def resolve(self, reference: str, platform: str) -> Base:
        del platform
        base = Base(image_id=f"sha256:{reference}", image=Image(architecture="amd64", os="linux"))
        if reference == "base":
            return base
        await self._met.wait()
        if reference == self._missing:
            raise NotFound(f"no {reference}")
        if self._missing:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(reference)
                raise
        return base


async def test_both_are_asked_for_at_once():
    async with asyncio.timeout(10):
        plan = await lower(DOCKERFILE, BuildRequest(), Images())
    assert len(plan.target.steps) == 3


async def test_one_that_cannot_be_had_ends_the_other():
    images = Images(missing="one")
    async with asyncio.timeout(10):
        with pytest.raises(NotFound, match="no one"):
            await lower(DOCKERFILE, BuildRequest(), images)
    assert images.cancelled == ["two"]
