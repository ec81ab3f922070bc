"""POST /commit. Docker Engine API, operation ImageCommit."""

from __future__ import annotations

from functools import partial
from typing import cast

import msgspec

from corten.api.routing import Request, Response, json_response, route
from corten.api.services import Services
from corten.build.dockerfile.changes import apply_changes
from corten.spec.docker.container import ContainerConfig


class _Committed(msgspec.Struct, rename="pascal"):
    id: str


@route("POST", "/commit")
async def image_commit(request: Request, services: Services) -> Response:
    """An image of a container. The body, if there is one, is configuration that wins over the container's."""
    query = request.query
    config = await request.optional_json(cast("type[ContainerConfig | None]", ContainerConfig | None))
    image = await services.commits.commit(
        query.text("container"),
        repository=query.text("repo"),
        tag=query.text("tag"),
        author=query.text("author"),
        comment=query.text("comment"),
        config=config,
        change=partial(apply_changes, changes=query.values("changes")),
        pause=query.flag("pause", default=True),
    )
    return json_response(_Committed(id=image), 201)
