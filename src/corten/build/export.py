"""The image that a stage amounts to: its configuration document from steps and layers. Pure; daemon.

The same steps give the same document: a step's time is when its layer was made, also when the cache had it, and a step
without a layer has that of the layer below it, or of the first new layer above (BuildKit's rule). With
SOURCE_DATE_EPOCH all new times are that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from corten.build.filesystem import FileSystem
from corten.build.graph import Vertex
from corten.build.plan import Base, Stage, Step
from corten.engine.images.views import rfc3339
from corten.lib import codec
from corten.spec.digest import digest_of
from corten.spec.oci_image import History, Image, ImageConfig, RootFS
from corten.spec.platform import host_platform, parse

_COMMENT = "buildkit.dockerfile.v0"
_EPOCH = "1970-01-01T00:00:00Z"
KeyOf = Callable[[Vertex], str]


def steps_of(stage: Stage) -> tuple[Base | None, list[Step]]:
    """The image below a stage, and all steps from there, those of the stages below it included."""
    steps: list[Step] = []
    base: Base | Stage | None = stage
    while isinstance(base, Stage):
        steps = [*base.steps, *steps]
        base = base.base
    return base, steps


def up_to(filesystem: FileSystem, base: Base | None, steps: Sequence[Step], key_of: KeyOf) -> FileSystem:
    """The file system as it was after these steps, of one that stands on it."""
    below = len(base.image.diff_ids) if base else 0
    keys = {key_of(step.vertex) for step in steps}
    own = (layer for layer in filesystem.layers[below:] if layer.key in keys)
    return FileSystem(layers=(*filesystem.layers[:below], *own))


def image_of(
    stage: Stage, steps: Sequence[Step], base: Base | None, filesystem: FileSystem, key_of: KeyOf, *, created: str
) -> Image:
    """The document after `steps`; `created` is SOURCE_DATE_EPOCH, or empty."""
    history = list(base.image.history or []) if base else []
    below = len(base.image.diff_ids) if base else 0
    made = {layer.key: layer.created for layer in filesystem.layers[below:]}
    own: list[History] = []
    for step in steps:
        if step.created_by:
            key = key_of(step.vertex) if step.changes_files else ""
            own.append(
                History(
                    created=created or made.get(key),
                    created_by=step.created_by,
                    comment=_COMMENT,
                    empty_layer=key not in made,
                )
            )
    known = (base.image.created if base else None) or (history[-1].created if history else None)
    history += _timed(own, known)
    platform = base.image.platform if base else parse(stage.platform) if stage.platform else host_platform()
    config = steps[-1].config if steps else ImageConfig()
    return Image(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant or None,
        created=history[-1].created if history else created or None,
        author=stage.author or (base.image.author if base else None),
        config=config,
        rootfs=RootFS(diff_ids=[layer.diff_id for layer in filesystem.layers]),
        history=history,
    )


def _timed(own: Sequence[History], before: str | None) -> list[History]:
    """History with a time for each step: that of the layer below, or of the first one above."""
    first = next((entry.created for entry in own if entry.created), None)
    time = first or before
    timed = []
    for entry in own:
        time = entry.created or time
        timed.append(msgspec.structs.replace(entry, created=time))
    return timed


def time_text(time_ns: int) -> str:
    """A time as configurations have it."""
    return rfc3339(time_ns) if time_ns else _EPOCH


def image_id(image: Image) -> str:
    """The id that an image with this document has."""
    return digest_of(codec.encode(image))
