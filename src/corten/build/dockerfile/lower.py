"""From a Dockerfile to a plan: instructions expanded, applied to the configuration, and put into the graph.

`resolve` says which stages there are, and asks for images; `plan_of` is a pure function of what it found; `lower` is
both, with an owner of images to answer. The one function here that waits; daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from corten.build.dockerfile.checks import check, refuse
from corten.build.dockerfile.checks.rule import Subject, Unset
from corten.build.dockerfile.dockerignore import Matcher
from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.instruction import Instruction
from corten.build.dockerfile.instructions.label import Label
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.resolution import (
    ContextSource,
    EmptySource,
    FetchedSource,
    FileSource,
    ImageSource,
    Resolution,
    ResolvedStage,
    Resolving,
    StageSource,
    resolve,
)
from corten.build.dockerfile.scope import BUILTIN, HIDDEN, hidden_environment
from corten.build.dockerfile.stages import BuildRequest, Dockerfile
from corten.build.dockerfile.state import StageState, first_state
from corten.build.graph import Vertex
from corten.build.location import redacted
from corten.build.operations import BaseImage, Context, Copy, Scratch, Source
from corten.build.plan import Base, BaseImages, Plan, Stage, Step
from corten.engine.images.settled import all_of
from corten.lib import blocking
from corten.spec.oci_image import CONFIG_LIMIT

_CACHE_NAMESPACE = "BUILDKIT_CACHE_MOUNT_NS"
_SYNTAXES = ("docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0")


Round = tuple[tuple[ImageSource, ...], tuple[Base, ...]]  # images that were asked for at once, and the answers


async def lower(
    dockerfile: Dockerfile,
    request: BuildRequest,
    images: BaseImages,
    *,
    ignored: Matcher | None = None,
    rounds: list[Round] | None = None,
) -> Plan:
    """The plan of a build. `ignored` is the context's .dockerignore, for the checks; `rounds` gets what was asked.

    Raises DockerfileError, and whatever `images` raises.
    """
    for value in (*request.given_args.values(), *request.labels, *request.labels.values()):
        if "\0" in value:
            raise DockerfileError("a NUL character stands in a build argument or a label")
    check_syntax(request.given_args.get("BUILDKIT_SYNTAX") or dockerfile.source.directives.syntax)
    resolving = resolve(dockerfile, request)
    answers: Sequence[Base] | None = None
    # in threads: a Dockerfile may be as large as its limits
    while not isinstance(asked := await blocking.run(_go_on, resolving, answers), Resolution):
        answers = await all_of(images.resolve(image.reference, image.platform) for image in asked)
        if rounds is not None:
            rounds.append((asked, tuple(answers)))
    return await blocking.run(plan_of, dockerfile, request, asked, ignored=ignored)


def _go_on(resolving: Resolving, answers: Sequence[Base] | None) -> tuple[ImageSource, ...] | Resolution:
    """The images that it asks for next, or what it has found."""
    try:
        return next(resolving) if answers is None else resolving.send(tuple(answers))
    except StopIteration as end:
        found: Resolution = end.value
        return found


def check_syntax(syntax: str) -> None:
    """Raise DockerfileError for a frontend that is not Docker's own, which this package is a replacement of."""
    name = syntax.partition("@")[0].removeprefix("docker.io/")
    head, _, last = name.rpartition("/")
    name = "/".join(part for part in (head, last.partition(":")[0]) if part)
    if syntax and name not in _SYNTAXES:
        raise DockerfileError(
            f'the frontend "{syntax}" of the syntax directive is not supported',
            lines=(1, 1),
        )


def plan_of(
    dockerfile: Dockerfile, request: BuildRequest, resolution: Resolution, *, ignored: Matcher | None = None
) -> Plan:
    """The plan for stages and images that are known. Pure. Raises DockerfileError."""
    lowering = _Lowering(request, resolution)
    for number, stage in enumerate(resolution.stages):
        is_last = number == len(resolution.stages) - 1
        lowering.add(stage, before=_global_steps(dockerfile) if number == 0 else (), labels=is_last)
    subject = Subject(
        dockerfile=dockerfile, request=request, unset=tuple(lowering.unset), images=resolution.images, ignored=ignored
    )
    findings = check(subject)
    refuse(subject, findings)
    warnings: tuple[str, ...] = ()
    unused = sorted(set(request.given_args) - lowering.declared - _global_names(dockerfile) - {*HIDDEN, *BUILTIN})
    if unused:
        warnings = (f"One or more build-args [{' '.join(unused)}] were not consumed",)
    return Plan(
        stages=tuple(lowering.planned.values()),
        is_staged=len(dockerfile.stages) > 1,
        platform=request.platform,
        warnings=warnings,
        findings=tuple(finding.warning for finding in findings),
    )


def _global_names(dockerfile: Dockerfile) -> set[str]:
    return {name for arg in dockerfile.global_args for name, _default in arg.names}


def _global_steps(dockerfile: Dockerfile) -> tuple[Node, ...]:
    return tuple(arg.node for arg in dockerfile.global_args)


class _Lowering:
    """Stages already planned, by index, with the state that each ends in."""

    def __init__(self, request: BuildRequest, resolution: Resolution) -> None:
        self._request = request
        self._resolution = resolution
        self._states: dict[int, StageState] = {}
        self.planned: dict[int, Stage] = {}
        self.declared: set[str] = set()
        self.unset: list[Unset] = []

    def add(self, stage: ResolvedStage, *, before: tuple[Node, ...], labels: bool) -> None:
        """Plan one stage, behind those that it needs."""
        state = self._first_state(stage)
        if isinstance(stage.base, ContextSource | FetchedSource):
            scratch = self._vertex(EmptySource(), stage.from_.node)
            root = self._whole(stage.base, scratch, stage.from_.node)
            steps = [*(_unchanged(node, scratch, state) for node in before), _copied(stage, root, state)]
        else:
            root = self._vertex(stage.base, stage.from_.node)
            steps = [_unchanged(node, root, state) for node in (*before, stage.from_.node)]
        instructions = [*stage.instructions, *(self._labels() if labels else ())]
        size = 0
        for instruction in instructions:
            expansion = state.expansion(instruction.node.escape)
            ready = instruction.expanded(expansion)
            self._note_unset(expansion.unset, ready.node, state)
            after = ready.applied(state)
            vertex = ready.lower(root, after, _StagePlaces(self, stage, after))
            created_by = ready.created_by(state)
            size += len(created_by)
            if size > CONFIG_LIMIT:
                raise DockerfileError(
                    f"the image's history is larger than the limit of {CONFIG_LIMIT}", lines=ready.node.lines
                )
            steps.append(
                Step(
                    text=redacted(ready.node.text),
                    lines=ready.node.lines,
                    vertex=vertex,
                    config=after.config,
                    created_by=created_by,
                    changes_files=vertex is not root,
                )
            )
            root, state = vertex, after
        self._states[stage.parsed.index] = state
        self.declared |= {name for name, _value in state.arguments}
        self.planned[stage.parsed.index] = Stage(
            index=stage.parsed.index,
            name=stage.from_.name,
            platform=stage.platform,
            base=self._plan_base(stage.base),
            steps=tuple(steps),
            author=state.author,
        )

    def _note_unset(self, names: set[str], node: Node, state: StageState) -> None:
        if not names:
            return
        declared = {name for name, _value in state.arguments} | set(HIDDEN)
        known = tuple(sorted({*state.environment, *declared}))
        self.unset += [Unset(name=name, lines=node.lines, known=known) for name in sorted(names - declared)]

    def _first_state(self, stage: ResolvedStage) -> StageState:
        base = stage.base
        if isinstance(base, StageSource):
            before = self._states[base.index]
            state = replace(before.with_config(on_build=None), cmd_is_set=False)
        elif isinstance(base, ImageSource):
            image = self._resolution.images[base].image
            if any("\0" in entry for entry in (*(image.defaults.env or ()), image.defaults.working_dir)):
                raise DockerfileError(
                    f"a NUL character stands in the configuration of {base.reference}", lines=stage.from_.node.lines
                )
            state = first_state(image.defaults, author=image.author or "")
        else:
            state = first_state(None)
        given = self._request.given_args
        scope = self._resolution.scope.variables
        return replace(state, given={**scope, **given}, overriding=given)

    def _plan_base(self, base: FileSource) -> Base | Stage | None:
        if isinstance(base, StageSource):
            return self.planned[base.index]
        return self._resolution.images[base] if isinstance(base, ImageSource) else None

    def _vertex(self, source: FileSource, node: Node) -> Vertex:
        if isinstance(source, StageSource):
            return self.planned[source.index].steps[-1].vertex
        if isinstance(source, ImageSource):
            found = self._resolution.images[source]
            operation = BaseImage(image_id=found.image_id, reference=source.reference, digest=found.digest)
            return Vertex(operation, name=node.text, lines=node.lines)
        if isinstance(source, ContextSource):
            return Vertex(Context(name=source.name), name=node.text, lines=node.lines)
        if isinstance(source, FetchedSource):
            return Vertex(source.operation, name=f"[context {source.name}] load from its origin", lines=node.lines)
        return Vertex(Scratch(), name=node.text, lines=node.lines)

    def _whole(self, source: FileSource, scratch: Vertex, node: Node) -> Vertex:
        """All files of a context, as the root file system of a stage that begins with it."""
        copy = Copy(sources=(Source(path="/"),), destination="/")
        return Vertex(copy, (scratch, self._vertex(source, node)), name=node.text, lines=node.lines)

    def _labels(self) -> tuple[Instruction, ...]:
        """The request's labels, as if the file ended with them."""
        if not self._request.labels:
            return ()
        pairs = tuple(sorted(self._request.labels.items()))
        text = "LABEL " + " ".join(f"{name}={value}" for name, value in pairs)
        return (_GivenLabels(node=Node(keyword="LABEL", text=text), pairs=pairs, is_legacy=False),)

    def find(self, stage: ResolvedStage, name: str) -> Vertex:
        """What a stage's COPY or mount takes files of."""
        if not name:
            return Vertex(Context(), name="[internal] load build context")
        return self._vertex(stage.sources[name], stage.from_.node)

    @property
    def request(self) -> BuildRequest:
        """What is built."""
        return self._request


@dataclass(frozen=True, slots=True, kw_only=True)
class _GivenLabels(Label):
    """Labels of the request, which have no variables."""

    def expand(self, expansion: object) -> _GivenLabels:  # noqa: ARG002
        return self


@dataclass(frozen=True, slots=True)
class _StagePlaces:
    """The places of one stage (`instruction.Places`)."""

    _lowering: _Lowering
    _stage: ResolvedStage
    _state: StageState

    def find(self, name: str) -> Vertex:
        return self._lowering.find(self._stage, name)

    @property
    def network(self) -> str:
        return self._lowering.request.network

    @property
    def hosts(self) -> tuple[str, ...]:
        return self._lowering.request.hosts

    @property
    def egress(self) -> tuple[str, ...] | None:
        return self._lowering.request.egress

    @property
    def hidden_environment(self) -> tuple[str, ...]:
        return hidden_environment(self._lowering.request, dict(self._state.arguments))

    @property
    def cache_namespace(self) -> str:
        return self._lowering.request.given_args.get(_CACHE_NAMESPACE, "")


def _copied(stage: ResolvedStage, root: Vertex, state: StageState) -> Step:
    """The FROM of a stage that begins with a context, whose files are a layer of their own."""
    node = stage.from_.node
    return Step(
        text=node.text,
        lines=node.lines,
        vertex=root,
        config=state.config,
        created_by=f"COPY --from={stage.from_.base} / / # buildkit",
        changes_files=True,
    )


def _unchanged(node: Node, root: Vertex, state: StageState) -> Step:
    return Step(text=node.text, lines=node.lines, vertex=root, config=state.config)
