"""HostConfig.LogConfig: checked, and as the shim takes it. Pure."""

from __future__ import annotations

import re
from typing import Any

from corten.errors import InvalidArgument
from corten.spec.docker.hostconfig import LogConfig

_DRIVERS: dict[str, frozenset[str]] = {
    "json-file": frozenset(
        {"max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode"}
    ),
    "local": frozenset({"max-file", "max-size", "compress", "mode", "max-buffer-size"}),
    "none": frozenset({"mode", "max-buffer-size"}),
}
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _size(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,15})(\.[0-9]+)? ?([kmgt]?)i?b?", text.lower())
    if match is None:
        if text == "-1":
            return 0
        raise InvalidArgument(f"invalid size: '{text[:32]}'")
    return int(float(match[1] + (match[2] or "")) * _UNITS[match[3]])


def check_log_config(config: LogConfig) -> None:
    """Raises InvalidArgument with Docker's texts."""
    known = _DRIVERS.get(config.type or "json-file")
    if known is None:
        raise InvalidArgument(f"logger: no log driver named '{config.type[:64]}' is registered")
    for name in config.config or {}:
        if name not in known:
            raise InvalidArgument(f"unknown log opt '{name[:64]}' for {config.type} log driver")
    shim_log(config, "")


def shim_log(config: LogConfig, path: str) -> dict[str, Any]:
    """StartRequest.log: driver, path, bytes and number of files; empty for no log. Raises InvalidArgument."""
    options = config.config or {}
    if config.type == "none":
        return {}
    max_size = _size(options.get("max-size", "20m" if config.type == "local" else "-1"))
    text = options.get("max-file", "5" if config.type == "local" else "1")
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) < 10_000:
        raise InvalidArgument(
            "max-file cannot be less than 1" if text in ("0", "-1") else f"invalid max-file: {text[:32]}"
        )
    if int(text) > 1 and not max_size:
        raise InvalidArgument("max-file option requires max-size to be set")
    return {"driver": "json-file", "path": path, "max_size": max_size, "max_file": int(text)}
