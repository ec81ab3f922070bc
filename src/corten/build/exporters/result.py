"""What exporters get, whatever face the build has: each platform's image, with what is said of it. Pure; daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from corten.build.attestations.statement import Predicate
from corten.build.caching.layout import OpenBlob
from corten.build.exporters.request import Export
from corten.build.face import Offers
from corten.build.filesystem import FileSystem
from corten.build.outputs import Built
from corten.build.trees.tree import Tree
from corten.spec.reference import Reference
from corten.store.leases import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformImage:
    """One platform's image, and what is said of it."""

    built: Built
    predicates: tuple[Predicate, ...] = ()

    @property
    def platform(self) -> str:
        """What it is for, `os/architecture[/variant]`."""
        return str(self.built.image.platform)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exportable:
    """The result of a build. `names` are those of outputs that give none; `epoch_s` is SOURCE_DATE_EPOCH; `lease` keeps
    it, and what exporters make of it; `offers` give credentials. `always_index`: also of one image alone."""

    images: Sequence[PlatformImage]
    lease: Lease
    offers: Offers
    names: tuple[Reference, ...] = ()
    epoch_s: int | None = None
    always_index: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A directory of an output of files: its name (empty: the output itself), the file system that it holds, and
    further files at its top."""

    directory: str
    filesystem: FileSystem
    files: tuple[tuple[str, bytes], ...] = ()


class Files(Protocol):
    """An output of files."""

    def tar(self) -> AsyncIterator[bytes]:
        """All of it as one tar."""

    def tree(self) -> AbstractContextManager[Tree]:
        """All of it as one tree, for clients that take files one by one. Blocking, as the tree is."""


class Receiver(Protocol):
    """Where a client takes what comes to it; `number` is the output's, from 0 on."""

    async def archive(self, number: int, export: Export, pieces: AsyncIterator[bytes]) -> None:
        """One tar, which is to be read to its end."""

    async def files(self, number: int, export: Export, files: Files) -> None:
        """A directory, or a tar of files."""


@runtime_checkable
class LayoutReceiver(Protocol):
    """A receiver whose client keeps image layouts itself."""

    async def blobs(self, number: int, export: Export, blobs: Sequence[tuple[str, OpenBlob]]) -> None:
        """The blobs of one, by digest, what names others behind them."""
