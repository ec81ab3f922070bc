"""What a check has found so far. Pure; daemon."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from corten.spec.corten.fsck import FsckArea, FsckFinding, Outcome

Kind = Literal["blob", "layer", "record", "stray", "other"]
AREAS = ("database", "blobs", "images", "layers", "containers", "volumes", "leftovers")


@dataclass(slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. `kind` says what may help: blobs are fetched, layers unpacked, records dropped, strays
    deleted; for the others there is nothing to do here."""

    area: str
    subject: str
    text: str
    kind: Kind = "other"
    outcome: Outcome = "remains"
    note: str = ""

    def finding(self) -> FsckFinding:
        """As it is told."""
        return FsckFinding(
            area=self.area, subject=self.subject, problem=self.text, outcome=self.outcome, note=self.note
        )

    def end(self, outcome: Outcome, note: str = "") -> None:
        """What came of it."""
        self.outcome, self.note = outcome, note


@dataclass(slots=True)
class Findings:
    """All problems, each subject once an area, and how much was looked at."""

    checked: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Keep a problem that is new."""
        if not any((p.kind, p.subject) == (problem.kind, problem.subject) and p.kind != "other" for p in self.problems):
            self.problems.append(problem)

    def of(self, kind: Kind) -> list[Problem]:
        """Problems that are not solved yet."""
        return [problem for problem in self.problems if problem.kind == kind and problem.outcome == "remains"]

    def summary(self) -> list[FsckArea]:
        """A line for each area."""
        return [
            FsckArea(
                name=area,
                checked=self.checked[area],
                problems=sum(p.area == area for p in self.problems),
                repaired=sum(p.area == area and p.outcome != "remains" for p in self.problems),
            )
            for area in AREAS
        ]
