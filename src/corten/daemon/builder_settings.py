"""`builder` of daemon.json: how much the build cache may keep. Pure; daemon only.

The keys and their units are dockerd's: `{"gc": {"enabled": true, "defaultKeepStorage": "20GB"}}`, or the newer name
`defaultReservedSpace`; `defaultMaxUsedSpace` is the limit where it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corten.daemon.options import ConfigError
from corten.daemon.settings import size_bytes

_LIMITS = ("defaultMaxUsedSpace", "defaultReservedSpace", "defaultKeepStorage")
_WITHOUT_EFFECT = ("defaultMinFreeSpace", "policy")
UNLIMITED = 1 << 63


def cache_bytes(given: Mapping[str, Any]) -> int | None:
    """The limit of the build cache in bytes, UNLIMITED without garbage collection; None: nothing was said of it.

    Raises ConfigError.
    """
    unknown = sorted(set(given) - {"gc", "entitlements", "sources"})
    settings = given.get("gc", {})
    if not isinstance(settings, dict):
        raise ConfigError("builder.gc must be an object")
    unknown += sorted(f"gc.{name}" for name in set(settings) - {"enabled", *_LIMITS, *_WITHOUT_EFFECT})
    if unknown:
        raise ConfigError(f"builder: unknown keys: {', '.join(unknown)}")
    enabled = settings.get("enabled", True)
    if not isinstance(enabled, bool):
        raise ConfigError(f"builder.gc.enabled must be true or false (not {enabled!r})")
    limits = [_bytes(name, settings[name]) for name in _LIMITS if name in settings]
    if not enabled:
        return UNLIMITED
    return next((limit for limit in limits if limit), None)


def without_effect(given: Mapping[str, Any]) -> list[str]:
    """The keys that are accepted and change nothing."""
    found = [f"builder.gc.{name}" for name in _WITHOUT_EFFECT if name in given.get("gc", {})]
    return [*found, *(["builder.entitlements"] if "entitlements" in given else [])]


def _bytes(name: str, text: Any) -> int:
    try:
        size = size_bytes(text) if isinstance(text, str) else -1
    except ConfigError:
        size = -1
    if size < 0:
        raise ConfigError(f'builder.gc.{name} must be a size such as "20GB" (not {text!r})')
    return size
