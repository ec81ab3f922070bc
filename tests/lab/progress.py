"""Reading what `corten build` says on standard error: plain progress, as buildx has it."""

from __future__ import annotations

import re


def cached_steps(said: str) -> int:
    """How many instructions after FROM the cache had."""
    names = dict(re.findall(r"(?m)^#(\d+) (\[[^\]]*\d/\d+\] [A-Z]+) ", said))
    cached = re.findall(r"(?m)^#(\d+) CACHED$", said)
    return sum(number in names and not names[number].endswith(" FROM") for number in cached)
