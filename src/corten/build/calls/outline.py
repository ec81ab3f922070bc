"""`--call=outline`: the build arguments, secrets, agents and caches of a target and of the stages that it needs.

No image is asked for: what base images set and trigger is left out. Pure; daemon.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from corten.build.calls.targets import description, place
from corten.build.dockerfile.instructions.arg import Arg
from corten.build.dockerfile.instructions.env import Env
from corten.build.dockerfile.instructions.run import Run
from corten.build.dockerfile.mounts import MountOptions, id_of
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.resolution import Resolution, ResolvedStage, StageSource, resolve
from corten.build.dockerfile.stages import BuildRequest, Dockerfile
from corten.build.dockerfile.state import StageState, first_state
from corten.build.plan import Base
from corten.spec.docker.subrequests import Outline, OutlineArg, OutlineCache, OutlineMount, Place
from corten.spec.oci_image import Image, ImageConfig

_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_NOTHING = Base(image_id="", image=Image(os="linux", architecture="", config=ImageConfig()))


def outline_of(dockerfile: Dockerfile, request: BuildRequest, source: bytes) -> Outline:
    """The outline of `request.target`. Raises DockerfileError."""
    resolution = _resolved(dockerfile, request)
    reader = _Reader(dockerfile, request, resolution)
    for stage in resolution.stages:
        reader.read(stage)
    target = resolution.stages[-1].parsed.from_
    return Outline(
        name=target.name,
        description=description(target.node.comments, target.name),
        args=tuple(sorted(reader.args.values(), key=lambda arg: _line(arg.location))),
        secrets=tuple(reader.secrets.values()),
        ssh=tuple(reader.agents.values()),
        cache=tuple(reader.caches.values()),
        sources=(source,),
    )


def _resolved(dockerfile: Dockerfile, request: BuildRequest) -> Resolution:
    resolving = resolve(dockerfile, request)
    try:
        asked = next(resolving)
        while True:
            asked = resolving.send(tuple(_NOTHING for _image in asked))
    except StopIteration as end:
        found: Resolution = end.value
        return found


class _Reader:
    """Goes through stages, each behind those that it needs."""

    def __init__(self, dockerfile: Dockerfile, request: BuildRequest, resolution: Resolution) -> None:
        self._request = request
        self._scope = resolution.scope
        self._globals = {name: (arg, default) for arg in dockerfile.global_args for name, default in arg.names}
        self._states: dict[int, StageState] = {}
        self.args: dict[str, OutlineArg] = {}
        self.secrets: dict[str, OutlineMount] = {}
        self.agents: dict[str, OutlineMount] = {}
        self.caches: dict[str, OutlineCache] = {}

    def read(self, stage: ResolvedStage) -> None:
        """Take in what one stage asks for."""
        for name in self._used(f"{stage.parsed.from_.base} {stage.parsed.from_.platform}"):
            self._add_global(name)
        base = stage.base
        state = self._states[base.index] if isinstance(base, StageSource) else first_state(None)
        given = self._request.given_args
        state = replace(state, given={**self._scope.variables, **given}, overriding=given)
        for instruction in stage.instructions:
            if not isinstance(instruction, Arg | Env | Run):
                continue
            ready = instruction.expanded(state.expansion(instruction.node.escape))
            state = ready.applied(state)
            if isinstance(ready, Arg):
                self._add_args(ready, state)
            elif isinstance(ready, Run):
                for mount in ready.mounts:
                    self._add_mount(mount, ready.node)
        self._states[stage.parsed.index] = state

    def _used(self, text: str) -> Iterator[str]:
        """The global ARGs that a text of FROM needs, with those that their defaults need."""
        todo, seen = _VARIABLE.findall(text), set()
        while todo:
            name = todo.pop()
            if name in self._globals and name not in seen:
                seen.add(name)
                yield name
                todo += _VARIABLE.findall(self._globals[name][1] or "")

    def _add_global(self, name: str) -> None:
        arg, _default = self._globals[name]
        self.args.setdefault(name, _outline_arg(name, self._scope.variables.get(name, ""), arg.node))

    def _add_args(self, arg: Arg, state: StageState) -> None:
        for name, default in arg.names:
            if name in self._scope.platforms and default is None:
                continue  # the builder knows
            if name in self._globals and default is None:
                self._add_global(name)
            else:
                self.args.setdefault(name, _outline_arg(name, dict(state.arguments)[name], arg.node))

    def _add_mount(self, mount: MountOptions, node: Node) -> None:
        found = {"secret": self.secrets, "ssh": self.agents}.get(mount.kind)
        if found is not None:
            name = id_of(mount)
            known = found.get(name)
            required = mount.required or (known is not None and known.required)
            location = known.location if known is not None else place(node.lines)
            found[name] = OutlineMount(name=name, required=required, location=location)
        elif mount.kind == "cache":
            name = id_of(mount)
            self.caches.setdefault(name, OutlineCache(id=name, location=place(node.lines)))


def _outline_arg(name: str, value: str, node: Node) -> OutlineArg:
    return OutlineArg(name=name, description=description(node.comments, name), value=value, location=place(node.lines))


def _line(location: Place | None) -> int:
    return location.ranges[0].start.line if location and location.ranges else 0
