"""What BuildKit's clients see the steps of a build called, and what failed steps say. Pure; daemon.

Source: BuildKit's Dockerfile frontend: `[stage 2/5] RUN make`, `[internal] load build context`, and so on.
"""

from __future__ import annotations

import hashlib

from corten.build.copying.select import SourceNotFound
from corten.build.given import is_given
from corten.build.graph import Vertex, in_order
from corten.build.location import redacted
from corten.build.operations import BaseImage, Context, Download, GitCheckout, InlineFiles, Merge, Run, Scratch
from corten.build.ops.copy import CopyFailed
from corten.build.ops.run import StepFailed
from corten.build.plan import Plan, Stage
from corten.lib.disk_full import words
from corten.spec import reference as references
from corten.spec.reference import InvalidReference

CONTEXT = "[internal] load build context"
EXPORT = "exporting to image"
CANCELLED = "context canceled"


def digest_of(vertex: Vertex) -> str:
    """A vertex' digest as clients see it."""
    return f"sha256:{vertex.digest}"


def digest_named(name: str) -> str:
    """The digest of a step that is in no plan."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def context_digest(name: str) -> str:
    """The digest of a context's step."""
    return digest_of(Vertex(Context(name=name)))


def context_name(name: str) -> str:
    """What the step is called that brings a context."""
    return f"[context {name}] load from client" if name else CONTEXT


def normal(reference: str) -> str:
    """An image's whole name."""
    try:
        return str(references.parse(reference).with_default_tag())
    except InvalidReference:
        return reference


def names_of(plan: Plan, *, platform: str = "") -> dict[Vertex, str]:
    """What the steps are called, inputs before what stands on them; vertices that nobody sees are left out. `platform`
    is told of when a build is for several."""
    found: dict[Vertex, str] = {}
    for stage in plan.stages:
        found |= {vertex: name for vertex, name in _stage_names(stage, plan, platform).items() if vertex not in found}
    named: dict[Vertex, str] = {}
    for vertex in in_order([plan.target.steps[-1].vertex]):
        name = found.get(vertex) or _other_name(vertex)
        if name:
            named[vertex] = name
    return named


def _stage_names(stage: Stage, plan: Plan, platform: str) -> dict[Vertex, str]:
    texts = {_work_of(step.vertex): step.text for step in stage.steps if step.changes_files}
    own = list(texts)
    root = stage.steps[0].vertex
    if isinstance(root.operation, BaseImage) and not isinstance(stage.base, Stage) and not _is_hidden(root):
        own.insert(0, root)
        texts[root] = f"FROM {normal(root.operation.reference)}"
    label = f"{platform} " if platform else ""
    label += f"{stage.name or f'stage-{stage.index}'} " if plan.is_staged else ""
    total = len(own)
    width = len(str(total))
    return {vertex: f"[{label}{number:>{width}}/{total}] {texts[vertex]}" for number, vertex in enumerate(own, start=1)}


def _work_of(vertex: Vertex) -> Vertex:
    """What is shown as a step: of a `--link` the copy, not that its layer is put upon others."""
    return vertex.inputs[1] if isinstance(vertex.operation, Merge) else vertex


def _other_name(vertex: Vertex) -> str:
    """The name of what is no instruction of its own."""
    operation = vertex.operation
    if isinstance(operation, Context):
        return context_name(operation.name)
    if isinstance(operation, BaseImage):
        return "" if _is_hidden(vertex) else f"FROM {normal(operation.reference)}"
    if isinstance(operation, InlineFiles):
        return "preparing inline document"
    if isinstance(operation, GitCheckout | Download):
        return redacted(operation.url)
    if isinstance(operation, Scratch | Merge):
        return ""
    return vertex.name


def _is_hidden(vertex: Vertex) -> bool:
    """Whether it is a result of another build, whose steps that build tells of."""
    return isinstance(vertex.operation, BaseImage) and is_given(vertex.operation.reference)


def reason_text(vertex: Vertex | None, error: Exception) -> str:
    """Why a step failed, in BuildKit's words where it has some."""
    missing = error.__cause__ if isinstance(error, CopyFailed) else None
    if vertex is not None and isinstance(missing, SourceNotFound) and missing.path:
        return f'failed to calculate checksum of ref corten::{vertex.digest[:12]}: "/{missing.path}": not found'
    if isinstance(error, StepFailed) and vertex is not None and isinstance(vertex.operation, Run):
        command = " ".join(vertex.operation.args)
        why = f": {error.why}" if error.why else ""
        return f'process "{command}" did not complete successfully: exit code: {error.exit_code}{why}'
    return words(error)


def solve_text(vertex: Vertex | None, error: Exception) -> str:
    """Why a build failed, for a client that was told of its steps."""
    text = reason_text(vertex, error)
    return f"failed to compute cache key: {text}" if text.startswith("failed to calculate checksum") else text
