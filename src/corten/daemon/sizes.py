"""Sizes as daemon.json has them. Pure; daemon only."""

from __future__ import annotations

import re
from decimal import Decimal

from corten.daemon.options import ConfigError

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size_bytes(text: str) -> int:
    """`64MiB`, `64m`, `1.5g`, `67108864`. Raises ConfigError."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None:
        raise ConfigError(f"invalid size: {text!r}")
    return int(Decimal(match[1]) * _UNITS[match[2]])
