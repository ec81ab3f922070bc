"""Looks at what stands on images and beside them: database, containers, volumes, files that nothing names. Daemon.

Quick looks at metadata; in threads all the same, since a disk may be slow. Nothing is changed here.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from corten.engine.fsck.findings import Findings, Problem
from corten.errors import NotFound

_SECOND_LOOK_S = 1.0
_ID = re.compile(r"[0-9a-f]{64}\Z")


class CheckedSnapshots(Protocol):
    """The snapshot driver, as far as containers are concerned."""

    def snapshots(self) -> Mapping[str, str]:
        """All snapshots."""

    def check_snapshot(self, key: str) -> list[str]:
        """What is wrong with one."""

    def orphans(self) -> list[str]:
        """Paths that nothing names."""


class CheckedContent(Protocol):
    """The content store, as far as its directories are concerned."""

    def orphans(self) -> list[str]:
        """Paths that are no blob."""

    def pending(self) -> list[tuple[str, int, float]]:
        """What is on its way in."""


class Surroundings:
    """The areas `database`, `containers`, `volumes` and `leftovers`."""

    def __init__(
        self,
        *,
        data_root: Path,
        check_database: Callable[[], list[str]],
        container_rows: Callable[[], Iterable[tuple[str, bytes]]],
        containers: Callable[[], Sequence[str]],
        volumes: Callable[[], Mapping[str, str]],
        snapshots: CheckedSnapshots,
        content: CheckedContent,
    ) -> None:
        self._data_root = data_root
        self._check_database = check_database
        self._container_rows = container_rows
        self._containers = containers
        self._volumes = volumes
        self._snapshots = snapshots
        self._content = content

    def check_database(self, findings: Findings) -> None:
        """SQLite's own check."""
        findings.checked["database"] += 1
        for text in self._check_database():
            findings.add(Problem(area="database", subject="meta.db", text=text))

    def check_containers(self, findings: Findings) -> None:
        """Each container has its writable layer and its directory."""
        snapshots = self._snapshots.snapshots()
        for cid in sorted(self._containers()):
            findings.checked["containers"] += 1
            texts = self._check_container(cid, snapshots)
            if cid in self._containers():  # it may have been removed meanwhile
                for text in texts:
                    findings.add(Problem(area="containers", subject=cid, text=text))
        known = set(self._containers())
        for key, _value in self._container_rows():
            if key not in known and key not in self._containers():
                findings.add(Problem(area="containers", subject=key, text="its record cannot be read"))

    def _check_container(self, cid: str, snapshots: Mapping[str, str]) -> list[str]:
        texts = ["its writable layer is not here"] if cid not in snapshots else []
        with contextlib.suppress(NotFound):
            texts += self._snapshots.check_snapshot(cid) if cid in snapshots else []
        directory = self._data_root / "containers" / cid
        return texts if directory.is_dir() else [*texts, f"{directory} is not here"]

    def check_volumes(self, findings: Findings) -> None:
        """Each volume has its content, and each content its volume."""
        volumes = self._volumes()
        for name, path in sorted(volumes.items()):
            findings.checked["volumes"] += 1
            if not os.path.isdir(path) and name in self._volumes():
                findings.add(Problem(area="volumes", subject=name, text=f"its content {path} is not here"))
        directory = self._data_root / "volumes"
        for name in sorted(os.listdir(directory)):
            if not name.startswith(".") and name not in volumes and name not in self._volumes():
                text = f"{directory / name} belongs to no volume: it becomes one at the next start"
                findings.add(Problem(area="volumes", subject=name, text=text))

    def check_leftovers(self, findings: Findings) -> None:
        """No files that nothing names. What is being made has a name only in the end: what is gone at a second look
        was that."""
        found = self._suspects()
        if found:
            time.sleep(_SECOND_LOOK_S)
            found = sorted(set(found) & set(self._suspects()))
        findings.checked["leftovers"] += 1
        for path in found:
            if path.startswith(os.fspath(self._data_root / "content")):
                findings.add(Problem(area="leftovers", subject=path, text="nothing needs this file", kind="stray"))
            else:
                text = "nothing names this: it goes at the next start"
                findings.add(Problem(area="leftovers", subject=path, text=text))

    def _suspects(self) -> list[str]:
        found = [*self._content.orphans(), *self._snapshots.orphans()]
        names = {name for name, _, _ in self._content.pending()}
        ingest = self._data_root / "content" / "ingest"
        found += [
            os.fspath(ingest / name)
            for name in names
            if name.endswith(".pieces") and name.removesuffix(".pieces") not in names
        ]
        base = self._data_root / "containers"
        if base.is_dir():
            known = set(self._containers())
            found += [os.fspath(base / n) for n in os.listdir(base) if _ID.match(n) and n not in known]
        return sorted(found)
