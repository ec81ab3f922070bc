"""The messages of a check of the store, as POST /corten/fsck streams them: one JSON object a line. Pure; daemon."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["remains", "repaired", "dropped"]


class FsckFinding(msgspec.Struct, rename="pascal", frozen=True, kw_only=True):
    """Something that is wrong, and what came of it; `note` says why it remains, or what was done."""

    area: str
    subject: str
    problem: str
    outcome: Outcome = "remains"
    note: str = ""


class FsckArea(msgspec.Struct, rename="pascal", frozen=True, kw_only=True):
    """One line of the summary."""

    name: str
    checked: int
    problems: int
    repaired: int


class FsckMessage(msgspec.Struct, rename="pascal", frozen=True, kw_only=True, omit_defaults=True):
    """How far an area is, or a finding, or, last, the summary; or the error that ended the check."""

    area: str = ""
    done: int = 0
    total: int = 0
    finding: FsckFinding | None = None
    summary: list[FsckArea] | None = None
    error: str = ""
