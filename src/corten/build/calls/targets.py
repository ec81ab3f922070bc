"""`--call=targets`: the stages that can be built, with what the comments above them say. Pure; daemon."""

from __future__ import annotations

from collections.abc import Sequence

from corten.build.dockerfile.error import Lines
from corten.build.dockerfile.stages import Dockerfile
from corten.spec.docker.lint import Position, Range
from corten.spec.docker.subrequests import Place, Target, Targets


def targets_of(dockerfile: Dockerfile, source: bytes) -> Targets:
    """The list; the last stage is the default."""
    return Targets(
        targets=tuple(
            Target(
                name=stage.from_.name,
                default=stage.index == len(dockerfile.stages) - 1,
                description=description(stage.from_.node.comments, stage.from_.name),
                base=stage.from_.base,
                platform=stage.from_.platform,
                location=place(stage.from_.node.lines),
            )
            for stage in dockerfile.stages
        ),
        sources=(source,),
    )


def description(comments: Sequence[str], name: str) -> str:
    """What the comments right above an instruction say of a name: the rest of the line that begins with it."""
    start = f"{name} "
    return next((line.removeprefix(start) for line in comments if name and line.startswith(start)), "")


def place(lines: Lines) -> Place | None:
    """Lines as a location, None for nowhere."""
    first, last = lines
    return Place(ranges=[Range(start=Position(line=first), end=Position(line=last))]) if first else None
