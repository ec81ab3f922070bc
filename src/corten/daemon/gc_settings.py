"""`gc` of daemon.json: water marks, and which images may go above them. Pure; daemon only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from corten.daemon.options import ConfigError
from corten.engine.images.gc_policy import GcSettings
from corten.store.watermarks import Marks


def gc_settings(given: Mapping[str, Any]) -> GcSettings:
    """What `gc` says. Raises ConfigError."""
    unknown = sorted(set(given) - {"high-water", "low-water", "images"})
    if unknown:
        raise ConfigError(f"gc: unknown keys: {', '.join(unknown)}")
    marks = Marks(high=_percent(given, "high-water", "90%"), low=_percent(given, "low-water", "80%"))
    if marks.high and marks.low > marks.high:
        raise ConfigError(f"gc: low-water {marks.low}% is above high-water {marks.high}%")
    images = given.get("images", "none")
    if images not in ("none", "dangling", "unused"):
        raise ConfigError(f"gc: images must be none, dangling or unused (not {images!r})")
    return GcSettings(marks, images)


def _percent(given: Mapping[str, Any], name: str, default: str) -> int:
    text = given.get(name, default)
    match = re.fullmatch(r"(\d{1,3})%", text) if isinstance(text, str) else None
    if match is None or int(match[1]) > 100:
        raise ConfigError(f'gc: {name} must be a percentage such as "90%" (not {text!r})')
    return int(match[1])
