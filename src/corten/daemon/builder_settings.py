"""`builder` of daemon.json: how much the build cache may keep, what steps may be allowed, and what builds fetch from.
Pure; daemon only.

The keys and their units are dockerd's: `{"gc": {"enabled": true, "defaultKeepStorage": "20GB"}}`, or the newer name
`defaultReservedSpace`; `defaultMaxUsedSpace` is the limit where it is given. What no step is ever allowed, whatever its
client asks, is in `{"entitlements": {"network-host": true, "security-insecure": false, "device": true}}`.
`{"sources": {"deny": ["10.0.0.0/8"], "allow": ["127.0.0.0/8"]}}` are networks that nothing is fetched from, besides
those of registry.inward.DENIED, and exceptions of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corten.daemon.options import ConfigError
from corten.daemon.sizes import size_bytes
from corten.registry.inward import InwardPolicy

_LIMITS = ("defaultMaxUsedSpace", "defaultReservedSpace", "defaultKeepStorage")
_WITHOUT_EFFECT = ("defaultMinFreeSpace", "policy")
_LISTS = ("deny", "allow")
UNLIMITED = 1 << 63
_ENTITLEMENTS = {  # the key: BuildKit's name, and whether it is allowed where nothing is said
    "network-host": ("network.host", True),
    "security-insecure": ("security.insecure", False),
    "device": ("device", True),
}


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
    return [f"builder.gc.{name}" for name in _WITHOUT_EFFECT if name in given.get("gc", {})]


def entitlements(given: Mapping[str, Any]) -> frozenset[str]:
    """What the clients of builds may ask for. Raises ConfigError."""
    settings = {} if given.get("entitlements") is None else given["entitlements"]
    if not isinstance(settings, dict):
        raise ConfigError("builder.entitlements must be an object")
    unknown = sorted(set(settings) - set(_ENTITLEMENTS))
    if unknown:
        raise ConfigError(f"builder: unknown keys: {', '.join(f'entitlements.{name}' for name in unknown)}")
    for key, value in settings.items():
        if not isinstance(value, bool | None):
            raise ConfigError(f"builder.entitlements.{key} must be true or false (not {value!r})")
    chosen = {key: value for key, value in settings.items() if value is not None}
    return frozenset(name for key, (name, default) in _ENTITLEMENTS.items() if chosen.get(key, default))


def source_policy(builder: Mapping[str, Any], own_ports: frozenset[int] = frozenset()) -> InwardPolicy:
    """The policy that `builder` asks for; `own_ports` are those of the API. Raises ConfigError."""
    given = builder.get("sources", {})
    if not isinstance(given, dict) or set(given) - set(_LISTS):
        raise ConfigError("builder.sources must be an object with the lists deny and allow")
    lists: dict[str, list[str]] = {}
    for name in _LISTS:
        found = given.get(name, [])
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            raise ConfigError(f"builder.sources.{name} must be a list of networks")
        lists[name] = found
    try:
        return InwardPolicy.of(deny=lists["deny"], allow=lists["allow"], own_ports=own_ports)
    except ValueError as error:
        raise ConfigError(f"builder.sources: {error}") from error


def _bytes(name: str, text: Any) -> int:
    try:
        size = size_bytes(text) if isinstance(text, str) else -1
    except ConfigError:
        size = -1
    if size < 0:
        raise ConfigError(f'builder.gc.{name} must be a size such as "20GB" (not {text!r})')
    return size
