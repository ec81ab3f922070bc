"""Dockerfiles of the tests, planned: with images that are a table, and no file, network or daemon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corten.build.dockerfile.dockerignore import Matcher
from corten.build.dockerfile.lower import lower
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile
from corten.build.graph import Vertex
from corten.build.plan import Base, Plan, Step
from corten.errors import NotFound
from corten.lib import codec
from corten.spec.oci_image import Image, ImageConfig

RECORDED = Path(__file__).parent / "recorded"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def recorded(name: str) -> Any:
    """What Docker 26.1.5 answered: classic builder and BuildKit where they agree, else BuildKit."""
    return json.loads((RECORDED / f"{name}.json").read_text())


class Images:
    """Images by reference; `asked` is what was wanted, in order."""

    def __init__(self, images: Mapping[str, ImageConfig], architecture: str = "amd64") -> None:
        self._images = images
        self._architecture = architecture
        self.asked: list[tuple[str, str]] = []

    async def resolve(self, reference: str, platform: str) -> Base:
        self.asked.append((reference, platform))
        if reference not in self._images:
            raise NotFound(f"No such image: {reference}")
        image = Image(os="linux", architecture=self._architecture, config=self._images[reference])
        return Base(image_id=f"sha256:{reference}", image=image)


def plan(text: str, images: Images | None = None, *, ignored: Matcher | None = None, **request: Any) -> Plan:
    """The plan of a Dockerfile."""
    request.setdefault("build_platform", "linux/amd64")
    images = images or Images({"base": ImageConfig()})
    return asyncio.run(lower(parse_dockerfile(text.encode()), BuildRequest(**request), images, ignored=ignored))


def last(text: str, **request: Any) -> Step:
    """The last step of `text` behind `FROM scratch`."""
    return plan(f"FROM scratch\n{text}", **request).target.steps[-1]


def vertex(text: str, **request: Any) -> Vertex:
    """The vertex of the last step of `text` behind `FROM scratch`."""
    return last(text, **request).vertex


def environment(result: Plan) -> dict[str, str]:
    """The target's ENV, without PATH."""
    env = dict(entry.partition("=")[::2] for entry in result.target.steps[-1].config.env or [])
    return {name: value for name, value in env.items() if name != "PATH"}


def as_document(config: ImageConfig) -> dict[str, Any]:
    """The configuration as JSON has it, without what is empty."""
    return {name: value for name, value in json.loads(codec.encode(config)).items() if value not in (None, "", [], {})}
