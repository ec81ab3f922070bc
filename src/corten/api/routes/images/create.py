"""POST /images/create: pull from a registry, or import a tar. Daemon only."""

from __future__ import annotations

from functools import partial

from corten.api.progress import progress_response
from corten.api.registry_auth import registry_auth
from corten.api.routing import Request, Response, route
from corten.api.services import Services
from corten.build.dockerfile.changes import apply_changes
from corten.errors import InvalidArgument


@route("POST", "/images/create")
async def image_create(request: Request, services: Services) -> Response:
    """`fromImage` pulls (a name without a tag means all tags), `fromSrc` imports the body (`-`) or what a URL gives."""
    query = request.query
    platform = query.text("platform") if request.version >= (1, 32) else ""
    if query.text("fromImage"):
        messages = services.transfer.pull(
            query.text("fromImage"),
            query.text("tag"),
            platform=platform,
            credentials=registry_auth(request),
        )
        return await progress_response(messages)
    source = query.text("fromSrc")
    if not source:
        raise InvalidArgument("either fromImage or fromSrc is required")
    messages = services.transfer.import_image(
        request.connection.body(),
        url="" if source == "-" else source if "://" in source else f"http://{source}",
        repository=query.text("repo"),
        tag=query.text("tag"),
        message=query.text("message"),
        change=partial(apply_changes, changes=query.values("changes")),
        platform=platform,
    )
    return await progress_response(messages)
