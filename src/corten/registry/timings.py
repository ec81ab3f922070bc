"""How long registries are waited for, and how often they are tried again. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How long to wait for what, in seconds; `stall_s` is for each single read or write.

    An answer that brings less than `floor_bytes` a second over so long a time counts as stalled, too.
    """

    connect_s: float = 15.0
    stall_s: float = 60.0
    floor_bytes: int = 1024
    retry_base_s: float = 0.5
    retry_cap_s: float = 20.0
    attempts: int = 5
