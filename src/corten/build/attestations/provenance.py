"""Provenance: how an image was built, as a SLSA predicate of version 1 or 0.2. Pure; daemon.

The fields are those that BuildKit fills (docs/attestations/slsa-definitions.md, slsa-provenance.md), so that what
reads its provenance reads this one; the builder's version says who wrote it. `min` names what the build was made of and
how it was asked for, without build arguments and labels; `max` has those, the Dockerfile and the steps. Secrets are
named by their ids and never told; proxies, which may hold passwords, and user information in URLs are left out,
wherever these stand: in the Dockerfile and in arguments, too.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from corten.build.attestations.material import Material, without_password
from corten.build.attestations.statement import Predicate
from corten.build.attestations.wishes import ProvenanceWish
from corten.build.dockerfile.scope import HIDDEN
from corten.build.graph import Vertex, in_order
from corten.build.location import redacted
from corten.build.operations import Download, GitCheckout, Run
from corten.build.plan import Plan
from corten.engine.images.views import rfc3339
from corten.spec.docker.lint import SourceFile

SLSA_1 = "https://slsa.dev/provenance/v1"
SLSA_02 = "https://slsa.dev/provenance/v0.2"
_FORM_1 = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
_FORM_02 = "https://mobyproject.org/buildkit@v1"
_FRONTEND = "dockerfile.v0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a build, the same for all its platforms. Times are in nanoseconds."""

    source: SourceFile
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    contexts: Sequence[str] = ()
    context_uri: str = ""
    use_cache: bool = True
    builder_platform: str
    version: str
    invocation: str
    started_ns: int
    finished_ns: int


def provenance(
    wish: ProvenanceWish, facts: Facts, plan: Plan, platform: str, materials: Sequence[Material]
) -> Predicate:
    """What is said of the image for one platform, which `plan` built of `materials`."""
    is_max = wish.mode == "max"
    known = all(material.digest for material in materials)
    dependencies = [_dependency(material) for material in materials]
    times = (rfc3339(facts.started_ns), rfc3339(facts.finished_ns))
    args = _arguments(facts, platform, is_max=is_max)
    request: dict[str, Any] = {"frontend": _FRONTEND, "args": args}
    secrets = sorted(set(_secrets(plan)))
    if is_max and secrets:
        request["secrets"] = [{"id": name} for name in secrets]
    request["locals"] = [{"name": "context"}, {"name": "dockerfile"}]
    steps = {"steps": _steps(plan)} if is_max else None
    extra = {"source": _source(facts.source)} if is_max else None
    if wish.version == "v0.2":
        return _version_02(wish, facts, request, dependencies, times, steps, extra, known=known)
    config_source = {"path": facts.source.filename} | (
        {"uri": without_password(facts.context_uri)} if facts.context_uri else {}
    )
    internal: dict[str, Any] = {"builderPlatform": facts.builder_platform}
    if steps is not None:
        internal["buildConfig"] = steps
    metadata: dict[str, Any] = {
        "invocationId": facts.invocation,
        "startedOn": times[0],
        "finishedOn": times[1],
        "buildkit_hermetic": _is_hermetic(plan),
        "buildkit_completeness": {"request": is_max, "resolvedDependencies": known},
        "buildkit_reproducible": wish.reproducible,
    }
    if extra is not None:
        metadata["buildkit_metadata"] = extra
    document = {
        "buildDefinition": {
            "buildType": _FORM_1,
            "externalParameters": {"configSource": config_source, "request": request},
            "internalParameters": internal,
            "resolvedDependencies": dependencies,
        },
        "runDetails": {"builder": {"id": wish.builder_id, "version": {"corten": facts.version}}, "metadata": metadata},
    }
    return Predicate(type=SLSA_1, document=document, filename="provenance.json")


def _version_02(
    wish: ProvenanceWish,
    facts: Facts,
    request: dict[str, Any],
    materials: list[dict[str, Any]],
    times: tuple[str, str],
    steps: dict[str, Any] | None,
    extra: dict[str, Any] | None,
    *,
    known: bool,
) -> Predicate:
    config_source = {"entryPoint": facts.source.filename}
    if facts.context_uri:
        config_source["uri"] = without_password(facts.context_uri)
    metadata: dict[str, Any] = {
        "buildInvocationID": facts.invocation,
        "buildStartedOn": times[0],
        "buildFinishedOn": times[1],
        "completeness": {"parameters": wish.mode == "max", "environment": True, "materials": known},
        "reproducible": wish.reproducible,
    }
    if extra is not None:
        metadata["https://mobyproject.org/buildkit@v1#metadata"] = extra
    document: dict[str, Any] = {
        "builder": {"id": wish.builder_id},
        "buildType": _FORM_02,
        "materials": materials,
        "invocation": {
            "configSource": config_source,
            "parameters": request,
            "environment": {"platform": facts.builder_platform, "corten": facts.version},
        },
        "metadata": metadata,
    }
    if steps is not None:
        document["buildConfig"] = steps
    return Predicate(type=SLSA_02, document=document, filename="provenance.json")


def _dependency(material: Material) -> dict[str, Any]:
    return {"uri": without_password(material.uri)} | ({"digest": dict(material.digest)} if material.digest else {})


def _arguments(facts: Facts, platform: str, *, is_max: bool) -> dict[str, str]:
    """The request in BuildKit's names."""
    args = {"filename": facts.source.filename, "platform": platform}
    if facts.target:
        args["target"] = facts.target
    if not facts.use_cache:
        args["no-cache"] = ""
    for name in facts.contexts:
        args[f"context:{name}"] = ""
    if is_max:
        args |= {f"build-arg:{name}": redacted(value) for name, value in facts.build_args.items() if name not in HIDDEN}
        args |= {f"label:{name}": redacted(value) for name, value in facts.labels.items()}
    return dict(sorted(args.items()))


def _vertices(plan: Plan) -> list[Vertex]:
    return list(in_order([plan.target.steps[-1].vertex]))


def _secrets(plan: Plan) -> Iterator[str]:
    for vertex in _vertices(plan):
        if isinstance(vertex.operation, Run):
            yield from (mount.id for mount in vertex.operation.mounts if mount.kind == "secret" and mount.id)


def _is_hermetic(plan: Plan) -> bool:
    """Whether no step could reach a network."""
    operations = [vertex.operation for vertex in _vertices(plan)]
    return not any(
        isinstance(operation, (Download, GitCheckout)) or (isinstance(operation, Run) and operation.network != "none")
        for operation in operations
    )


def _steps(plan: Plan) -> list[dict[str, Any]]:
    """Vertices in order, each with those that it stands on; no step's environment, which may hold secret values."""
    vertices = _vertices(plan)
    number = {vertex: f"step{index}" for index, vertex in enumerate(vertices)}
    return [
        {
            "id": number[vertex],
            "op": type(vertex.operation).__name__,
            "name": vertex.name,
            "lines": list(vertex.lines),
            "inputs": [number[below] for below in vertex.inputs],
        }
        for vertex in vertices
    ]


def _source(source: SourceFile) -> dict[str, Any]:
    text = redacted(source.data.decode("utf-8", "surrogateescape"))
    data = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")
    return {"infos": [{"filename": source.filename, "language": "Dockerfile", "data": data}]}
