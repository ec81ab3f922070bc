"""Repairs what a check has found: blobs are fetched again, layers unpacked again, what nobody has any more is dropped.

An image is dropped only when it cannot be run any more, nobody who was asked has what is missing, and no container was
made of it; a registry that cannot be reached drops nothing. Daemon's loop.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from corten.engine.fsck.findings import Findings, Problem
from corten.engine.fsck.needs import Need
from corten.engine.fsck.refetch import Lost, Refetcher
from corten.engine.fsck.stored import StoredCheck
from corten.engine.images.catalog import ImageEntry
from corten.engine.images.library import ImageLibrary
from corten.engine.images.record import ImageRecord
from corten.engine.images.service import ImageService
from corten.errors import CortenError
from corten.lib import blocking
from corten.registry.cancel import Cancel
from corten.registry.credentials import Credentials
from corten.spec import reference as references
from corten.spec.corten.fsck import FsckMessage
from corten.spec.reference import Reference
from corten.store.gc import Node

_LOG = logging.getLogger("corten.fsck")
_ROUNDS = 4  # index, manifest, configuration: each may tell of more that is missing


class RepairedLayers(Protocol):
    """The snapshot driver, as far as damaged layers are concerned."""

    def forget_layer(self, chain_id: str) -> None:
        """Give one up, so that it is made anew."""


class Repair:
    """One run. `running` says which layers running containers stand on; `delete_file` removes a stray file."""

    def __init__(
        self,
        *,
        library: ImageLibrary,
        images: ImageService,
        layers: RepairedLayers,
        check: StoredCheck,
        refetcher: Refetcher,
        running: Callable[[], set[str]],
        delete_file: Callable[[str], object],
        credentials: Mapping[str, Credentials],
    ) -> None:
        self._library = library
        self._images = images
        self._layers = layers
        self._check = check
        self._refetcher = refetcher
        self._running = running
        self._delete_file = delete_file
        self._credentials = credentials
        self._cancel = Cancel()
        self._tried: set[str] = set()
        self._lost: set[str] = set()

    async def run(self, findings: Findings) -> AsyncIterator[FsckMessage]:
        """Try all; each problem is told what came of it."""
        try:
            for _ in range(_ROUNDS):
                tried = len(self._tried)
                async for message in self._fetch_blobs(findings):
                    yield message
                await self._look_again(findings)
                if len(self._tried) == tried:
                    break
            async for message in self._unpack_layers(findings):
                yield message
            await self._drop(findings)
            for problem in findings.of("stray"):
                await blocking.run(self._delete_file, problem.subject)
                problem.end("repaired", "deleted")
        finally:
            self._cancel.set()

    async def _fetch_blobs(self, findings: Findings) -> AsyncIterator[FsckMessage]:
        problems = findings.of("blob")
        for number, problem in enumerate(problems):
            yield FsckMessage(area="fetching", done=number, total=len(problems))
            need, names = await blocking.run(self._needed, problem.subject)
            if problem.subject in self._tried:
                continue
            if need is None:
                gone = await self._library.discard([Node("blob", problem.subject)])
                if gone:
                    problem.end("dropped", "no image needs it")
            elif need.descriptor is None:
                problem.note = "the document that describes it is damaged, too"
            else:
                self._tried.add(need.digest)
                async with self._library.lease([need.digest]):
                    await self._fetch(problem, need, names)

    async def _fetch(self, problem: Problem, need: Need, names: Sequence[Reference]) -> None:
        try:
            name = await blocking.run(self._refetcher.fetch, need, names, self._credentials, self._cancel, pool="net")
        except Lost as error:
            self._lost.add(need.digest)
            problem.note = error.message
        except (CortenError, OSError) as error:
            problem.note = f"cannot be fetched: {error}"
        else:
            problem.end("repaired", f"fetched again from {name.domain}")

    def _needed(self, digest: str) -> tuple[Need | None, list[Reference]]:
        """What is known of a blob, and the names of the images that need it, those by digest first."""
        found: Need | None = None
        names: dict[Reference, None] = {}
        for image_id, record in self._check.images().items():
            for need in self._check.needs(image_id, record) if record is not None else ():
                if need.digest == digest:
                    found = need if found is None or found.descriptor is None else found
                    parsed = [references.parse(text) for text in record.references] if record else []
                    names.update(dict.fromkeys(sorted(parsed, key=lambda name: not name.digest)))
        return found, list(names)

    async def _look_again(self, findings: Findings) -> None:
        """Read images whose documents are back: they may tell of more that is missing."""
        for image_id in list(self._library.unreadable):
            try:
                await self._library.reload(image_id)
            except (CortenError, OSError) as error:
                self._library.unreadable[image_id] = str(error)
        fresh = Findings()
        async for _ in self._check.check_images(fresh):
            pass
        async for _ in self._check.check_layers(fresh):
            pass
        for problem in fresh.problems:
            findings.add(problem)

    async def _unpack_layers(self, findings: Findings) -> AsyncIterator[FsckMessage]:
        problems = {problem.subject: problem for problem in findings.of("layer")}
        ordered = sorted(problems, key=self._height)
        for number, chain_id in enumerate(ordered):
            yield FsckMessage(area="unpacking", done=number, total=len(ordered))
            problem = problems[chain_id]
            entry = self._holder(chain_id)
            if entry is None:
                problem.note = "no image says which blob it was made of"
            elif chain_id in self._running():
                problem.note = "a running container stands on it: stop it, and run fsck again"
            else:
                await self._unpack(problem, entry)

    def _holder(self, chain_id: str) -> ImageEntry | None:
        return next((entry for entry in self._library.catalog if chain_id in entry.chain), None)

    def _height(self, chain_id: str) -> int:
        entry = self._holder(chain_id)
        return entry.chain.index(chain_id) if entry is not None else 0

    async def _unpack(self, problem: Problem, entry: ImageEntry) -> None:
        chain_id = problem.subject
        number = entry.chain.index(chain_id)
        below = entry.chain[number - 1] if number else ""
        blob = entry.layers[number].digest
        async with self._library.lease([blob, *entry.chain]):
            try:
                if await blocking.run(self._library.blob_size, blob) is None or blob in self._lost:
                    raise Lost(f"the blob {blob} that it was made of is lost")
                await blocking.run(self._layers.forget_layer, chain_id)
                await blocking.run(
                    self._library.unpack, blob, entry.config.diff_ids[number], chain_id, below, lambda _done: None
                )
            except Lost as error:
                self._lost.add(chain_id)
                problem.note = error.message
            except (CortenError, OSError) as error:
                problem.note = f"cannot be unpacked: {error}"
            else:
                problem.end("repaired", "unpacked again")

    async def _drop(self, findings: Findings) -> None:
        """Images that cannot be run and never will be."""
        for image_id, record in (await blocking.run(self._check.images)).items():
            entry = self._library.catalog.get(image_id)
            if entry is not None:
                if self._lost & set(entry.chain) and not await self._images.discard(image_id):
                    _LOG.warning("image is kept: it is used, and cannot be repaired", extra={"image": image_id})
            elif image_id in self._library.unreadable and self._is_hopeless(findings, image_id, record):
                await self._library.forget(image_id)
            if self._library.catalog.get(image_id) is None and image_id not in self._library.unreadable:
                _LOG.warning("image dropped: it cannot be repaired", extra={"image": image_id})
        await self._close(findings)

    def _is_hopeless(self, findings: Findings, image_id: str, record: ImageRecord | None) -> bool:
        """Whether an image that cannot be read never will be: by its record, a lost document, or a senseless one."""
        documents = {record.manifest.digest, image_id} if record is not None else set()
        lacking = {problem.subject for problem in findings.of("blob")} & documents
        return not lacking or bool(lacking & self._lost)

    async def _close(self, findings: Findings) -> None:
        """What only dropped images needed is no problem any more."""
        images = await blocking.run(self._check.images)
        for problem in [*findings.of("blob"), *findings.of("record"), *findings.of("layer")]:
            need, _ = await blocking.run(self._needed, problem.subject)
            is_here = problem.subject in images if problem.kind == "record" else self._is_here(problem)
            if need is None and not is_here:
                why = f": {problem.note}" if problem.note else ""
                problem.end("dropped", f"with the image that needed it{why}")

    def _is_here(self, problem: Problem) -> bool:
        if problem.kind == "layer":
            return self._library.has_layer(problem.subject) or self._holder(problem.subject) is not None
        return self._library.has_blob(problem.subject)
