"""Which stages a target needs, in which order, and what each begins with. Pure, sans I/O; daemon.

A stage needs the one that its FROM names and those that COPY --from and RUN --mount take files of. The triggers of a
base image belong to the stage, and may need stages themselves; so resolving asks for images as it goes: it is a
generator that yields what it wants to know and is sent the answers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from corten.build.dockerfile.contexts import Fetched, fetched_of, find_context, image_of, layout_of, local_name
from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.instruction import Instruction
from corten.build.dockerfile.instructions import parse_instruction
from corten.build.dockerfile.instructions.from_ import From
from corten.build.dockerfile.parser import Node, parse_trigger
from corten.build.dockerfile.scope import GlobalScope, global_scope, parse_platform
from corten.build.dockerfile.stages import BuildRequest, Dockerfile, ParsedStage
from corten.build.given import is_given
from corten.build.plan import Base
from corten.errors import InvalidArgument
from corten.spec import reference as references

SCRATCH = "scratch"
_NO_TRIGGERS = ("FROM", "MAINTAINER", "ONBUILD")


@dataclass(frozen=True, slots=True)
class StageSource:
    """Another stage, by its index."""

    index: int


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image, one of a layout (`oci-layout://...`) or another build's result (given.py); an empty platform is the
    builder's own."""

    reference: str
    platform: str = ""


@dataclass(frozen=True, slots=True)
class ContextSource:
    """A tree that the client sends under a name."""

    name: str


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """What the daemon fetches for the named context `name`: a repository's files, or a file."""

    name: str
    operation: Fetched


@dataclass(frozen=True, slots=True)
class EmptySource:
    """scratch."""


FileSource = StageSource | ImageSource | ContextSource | FetchedSource | EmptySource
Images = Mapping[ImageSource, Base]
Resolving = Generator[tuple[ImageSource, ...], tuple[Base, ...], "Resolution"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStage:
    """A stage whose FROM is expanded; `instructions` begin with the base's triggers, `sources` are those by name."""

    parsed: ParsedStage
    from_: From
    platform: str
    base: FileSource
    instructions: tuple[Instruction, ...]
    sources: Mapping[str, FileSource]

    @property
    def needs(self) -> tuple[int, ...]:
        """The stages that it stands on or takes files of."""
        sources = (self.base, *self.sources.values())
        return tuple(source.index for source in sources if isinstance(source, StageSource))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The stages that a target needs, each behind those that it needs; the target last."""

    stages: tuple[ResolvedStage, ...]
    images: Images
    scope: GlobalScope


def resolve(dockerfile: Dockerfile, request: BuildRequest) -> Resolving:
    """Yields the images that it has to know, several at a time, and is sent a Base for each. Raises DockerfileError."""
    resolver = _Resolver(dockerfile, request, global_scope(dockerfile, request))
    target = dockerfile.target(request.target).index
    waiting = [target]
    while waiting:
        yield from resolver.ask([resolver.base(index) for index in waiting])
        found = [resolver.stage(index) for index in waiting]
        yield from resolver.ask([source for stage in found for source in stage.sources.values()])
        waiting = list(dict.fromkeys(need for stage in found for need in stage.needs if need not in resolver.stages))
    return Resolution(stages=_in_order(resolver.stages, target), images=resolver.images, scope=resolver.scope)


@dataclass(slots=True)
class _Resolver:
    dockerfile: Dockerfile
    request: BuildRequest
    scope: GlobalScope
    images: dict[ImageSource, Base] = field(default_factory=dict)
    stages: dict[int, ResolvedStage] = field(default_factory=dict)

    def ask(self, sources: list[FileSource]) -> Generator[tuple[ImageSource, ...], tuple[Base, ...], None]:
        wanted = dict.fromkeys(
            source for source in sources if isinstance(source, ImageSource) and source not in self.images
        )
        if wanted:
            answers = yield tuple(wanted)
            self.images |= dict(zip(wanted, answers, strict=True))

    def _from(self, index: int) -> From:
        from_ = self.dockerfile.stages[index].from_
        return from_.expanded(Expansion(self.scope.variables, from_.node.escape))

    def _platform(self, from_: From) -> str:
        asked = from_.platform or self.request.platform
        try:
            return parse_platform(asked) if asked else ""
        except ValueError as error:
            raise DockerfileError(str(error), lines=from_.node.lines) from error

    def base(self, index: int) -> FileSource:
        """What the stage's FROM means: a named context, an earlier stage, scratch, or an image."""
        from_ = self._from(index)
        platform = self._platform(from_)
        own = self.dockerfile.stages[index].from_.name
        context = self._context(own, platform, from_.node) if own else None
        if context is None and from_.base != SCRATCH:
            context = self._context(from_.base, platform, from_.node)
        if context is not None:
            return context
        earlier = self.dockerfile.find(from_.base, index)
        if earlier is not None:
            return StageSource(earlier.index)
        return EmptySource() if from_.base == SCRATCH else _image(from_.base, platform, from_.node, "FROM")

    def stage(self, index: int) -> ResolvedStage:
        """The stage, whose base image is known by now."""
        parsed = self.dockerfile.stages[index]
        from_ = self._from(index)
        base, platform = self.base(index), self._platform(from_)
        is_replaced = bool(from_.name) and self._context(from_.name, platform, from_.node) is not None
        triggers = self._triggers(base, from_.node)
        instructions = () if is_replaced else (*triggers, *parsed.instructions)
        sources = {name: self._source(name, platform, found.node) for found in instructions for name in found.sources}
        stage = ResolvedStage(
            parsed=parsed, from_=from_, platform=platform, base=base, instructions=instructions, sources=sources
        )
        self.stages[index] = stage
        return stage

    def _triggers(self, base: FileSource, node: Node) -> tuple[Instruction, ...]:
        if isinstance(base, StageSource):
            texts = self.dockerfile.stages[base.index].triggers
        elif isinstance(base, ImageSource):
            texts = tuple(self.images[base].image.defaults.on_build or ())
        else:
            texts = ()
        triggers = tuple(parse_trigger(text, escape=node.escape, lines=node.lines) for text in texts)
        for trigger in triggers:
            if trigger.name in _NO_TRIGGERS:
                raise trigger.error(f"{trigger.name} isn't allowed as an ONBUILD trigger")
        return tuple(parse_instruction(trigger) for trigger in triggers)

    def _source(self, name: str, platform: str, node: Node) -> FileSource:
        """What `--from=name` means: a named context, a stage by name or number, scratch, or an image."""
        context = self._context(name, platform, node)
        if context is not None:
            return context
        stage = self.dockerfile.find(name, len(self.dockerfile.stages))
        if stage is not None:
            return StageSource(stage.index)
        if name.isdecimal() and len(name) < 10:
            if int(name) >= len(self.dockerfile.stages):
                raise DockerfileError(f"invalid stage index {int(name)}", lines=node.lines)
            return StageSource(int(name))
        return EmptySource() if name == SCRATCH else _image(name, platform, node, "stage")

    def _context(self, name: str, platform: str, node: Node) -> FileSource | None:
        """What the named context of that name is; None when there is none."""
        context = find_context(self.request.contexts, name, platform)
        if context is None:
            return None
        key, value = context
        if is_given(value):
            return ImageSource(value, platform)
        image = image_of(value)
        if image is not None:
            return EmptySource() if image == SCRATCH else _image(image, platform, node, "FROM")
        try:
            if layout_of(value) is not None:
                return ImageSource(value, platform)
            fetched = fetched_of(key, value)
        except ValueError as error:
            raise DockerfileError(str(error), lines=node.lines) from error
        return ContextSource(local_name(key, value)) if fetched is None else FetchedSource(key, fetched)


def _image(name: str, platform: str, node: Node, what: str) -> ImageSource:
    try:
        references.parse(name)
    except InvalidArgument as error:
        subject = "failed to parse stage name" if what == "stage" else "failed to parse base name"
        raise DockerfileError(f'{subject} "{name}": {error.message}', lines=node.lines) from error
    return ImageSource(name, platform)


def _in_order(stages: Mapping[int, ResolvedStage], target: int) -> tuple[ResolvedStage, ...]:
    """Each stage behind those that it needs, else in the file's order. Raises DockerfileError for a circle."""
    done: dict[int, ResolvedStage] = {}
    on_path: set[int] = set()
    todo = [(target, False)]
    while todo:
        index, is_left = todo.pop()
        if is_left:
            on_path.discard(index)
            done[index] = stages[index]
        elif index not in done:
            if index in on_path:
                stage = stages[index]
                raise DockerfileError(
                    f"circular dependency detected on stage: {stage.parsed.name}", lines=stage.from_.node.lines
                )
            on_path.add(index)
            todo.append((index, True))
            todo += [(need, False) for need in sorted(set(stages[index].needs), reverse=True)]
    return tuple(done.values())
