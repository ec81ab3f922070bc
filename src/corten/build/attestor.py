"""What is said of a build's result, gathered: provenance from the plan, packages from the file system. Daemon's loop.

Faces call it between the build and the exporters. Packages are read in disk threads.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Protocol

import corten
from corten.build.attestations.material import Material, git_material, image_material
from corten.build.attestations.provenance import Facts, provenance
from corten.build.attestations.sbom import sbom
from corten.build.attestations.scan import Found, scan
from corten.build.attestations.statement import Predicate
from corten.build.attestations.wishes import Attests
from corten.build.export import time_text
from corten.build.filesystem import FileSystem
from corten.build.given import is_given
from corten.build.graph import Vertex, in_order
from corten.build.operations import BaseImage, Download, GitCheckout
from corten.build.ops.store import Snapshots
from corten.build.outputs import Built
from corten.build.plan import Plan
from corten.build.trees.mounted import MountedTree
from corten.build.trees.tree import EmptyTree
from corten.engine.images.catalog import Catalog
from corten.engine.images.progress import Progress, run_cancellable
from corten.lib import blocking
from corten.spec import reference as references
from corten.spec.docker.lint import SourceFile
from corten.spec.platform import host_platform
from corten.spec.reference import InvalidReference

_NANO = 1_000_000_000


class Request(Protocol):
    """What provenance tells of the request (BuildOptions)."""

    @property
    def attests(self) -> Attests:
        """What is asked for."""

    @property
    def build_args(self) -> Mapping[str, str | None]:
        """--build-arg."""

    @property
    def labels(self) -> Mapping[str, str]:
        """--label."""

    @property
    def contexts(self) -> Mapping[str, str]:
        """Named contexts."""

    @property
    def target(self) -> str:
        """--target."""

    @property
    def use_cache(self) -> bool:
        """Not --no-cache."""


class Attestor:
    """One a daemon."""

    def __init__(self, *, catalog: Catalog, snapshots: Snapshots) -> None:
        self._catalog = catalog
        self._snapshots = snapshots

    def facts(
        self, request: Request, source: SourceFile, materials: tuple[Material, ...], started_ns: int, finished_ns: int
    ) -> Facts:
        """What provenance tells of a build, the same for each platform."""
        return Facts(
            source=source,
            build_args={name: value for name, value in request.build_args.items() if value is not None},
            labels=request.labels,
            target=request.target,
            contexts=sorted(request.contexts),
            context_uri=materials[0].uri if materials else "",
            use_cache=request.use_cache,
            builder_platform=str(host_platform()),
            version=corten.__version__,
            invocation=uuid.uuid4().hex,
            started_ns=started_ns,
            finished_ns=finished_ns,
        )

    async def predicates(
        self,
        attests: Attests,
        facts: Facts,
        plan: Plan,
        built: Built,
        materials: tuple[Material, ...],
        progress: Progress,
        *,
        epoch_s: int | None = None,
    ) -> tuple[Predicate, ...]:
        """What is said of one platform's image. Raises OSError."""
        found = []
        platform = str(built.image.platform)
        if attests.sbom:
            packages = await run_cancellable(progress, "disk", self._scan, built.filesystem, progress.cancel.check)
            created = time_text(facts.finished_ns if epoch_s is None else epoch_s * _NANO)
            found.append(
                await blocking.run(
                    sbom,
                    packages,
                    name=plan.target.name or "image",
                    digest=built.filesystem.chain_id,
                    created=created.partition(".")[0].rstrip("Z") + "Z",
                    version=facts.version,
                )
            )
        if attests.provenance is not None:
            made_of = await run_cancellable(
                progress, "disk", self._materials, plan, built, platform, progress.cancel.check
            )
            found.append(provenance(attests.provenance, facts, plan, platform, [*materials, *made_of]))
        return tuple(found)

    def _scan(self, filesystem: FileSystem, check: Callable[[], None]) -> Found:
        """Blocking."""
        if not filesystem.layers:
            return scan(EmptyTree(), check)
        tree = MountedTree(self._snapshots.image_fd(filesystem.chain_id), check=check)
        try:
            return scan(tree, check)
        finally:
            tree.close()

    def _materials(self, plan: Plan, built: Built, platform: str, check: Callable[[], None]) -> list[Material]:
        """Blocking."""
        found: dict[str, Material] = {}
        for vertex in in_order([plan.target.steps[-1].vertex]):
            material = self._material(vertex, built, platform, check)
            if material is not None:
                found.setdefault(material.uri, material)
        return [found[uri] for uri in sorted(found)]

    def _material(self, vertex: Vertex, built: Built, platform: str, check: Callable[[], None]) -> Material | None:
        operation = vertex.operation
        if isinstance(operation, BaseImage) and is_given(operation.reference):  # which has no name
            return Material(uri=operation.image_id, digest={"sha256": operation.image_id.removeprefix("sha256:")})
        if isinstance(operation, BaseImage):
            entry = self._catalog.get(operation.image_id)
            try:
                name = references.parse(operation.reference).with_default_tag()
            except InvalidReference:  # it was named by its id, or is one of a layout
                known = operation.digest or operation.image_id
                return Material(uri=operation.reference, digest={"sha256": known.removeprefix("sha256:")})
            digest = name.digest or operation.digest or (entry.target(name).digest if entry is not None else "")
            return image_material(name, str(entry.config.platform) if entry is not None else platform, digest)
        if isinstance(operation, Download):
            sha256 = operation.checksum.removeprefix("sha256:") or self._file_digest(built.fetched.get(vertex), check)
            return Material(uri=operation.url, digest={"sha256": sha256} if sha256 else {})
        if isinstance(operation, GitCheckout):
            return git_material(operation.url, built.commits.get(vertex) or operation.checksum)
        return None

    def _file_digest(self, fetched: FileSystem | None, check: Callable[[], None]) -> str:
        """Of the one file that was fetched; empty when this build has not seen it."""
        if fetched is None or not fetched.layers:
            return ""
        tree = MountedTree(self._snapshots.image_fd(fetched.chain_id), check=check)
        try:
            names = tree.names("")
            return tree.digest(names[0]) if len(names) == 1 else ""
        finally:
            tree.close()
