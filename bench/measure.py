"""Interleaved timing and the table of medians and ratios."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence


def timed(argv: Sequence[str]) -> float:
    """Seconds of one run of a command; raises when it fails."""
    start = time.perf_counter()
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if result.returncode != 0:
        raise RuntimeError(f"{argv}: {result.stderr.decode(errors='replace')}")
    return seconds


def interleaved(cases: Mapping[str, Callable[[], float]], *, rounds: int, warmup: int = 2) -> dict[str, list[float]]:
    """Run each case once a round, so that a change of the machine's speed meets all alike."""
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(warmup + rounds):
        for name, case in cases.items():
            seconds = case()
            if number >= warmup:
                samples[name].append(seconds)
    return samples


def table(title: str, samples: dict[str, list[float]], *, unit: str = "ms", scale: float = 1000.0) -> None:
    """Median, minimum and maximum of each, and each one's ratio to every other's median."""
    print(f"\n{title}")
    medians = {name: statistics.median(values) for name, values in samples.items()}
    width = max(map(len, samples))
    for name, values in samples.items():
        ratios = "  ".join(
            f"{medians[name] / medians[other]:.2f} of {other}"
            for other in samples
            if other != name and "corten" not in other
        )
        print(
            f"  {name:<{width}}  median {medians[name] * scale:8.1f} {unit}  min {min(values) * scale:8.1f}  "
            f"max {max(values) * scale:8.1f}  {ratios}"
        )
