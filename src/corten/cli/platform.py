"""--platform where the API wants JSON."""

from __future__ import annotations

from corten.client import json_text


def platform_json(text: str) -> str:
    """`linux/arm64/v8` as an OCI platform in JSON, "" for none."""
    if not text:
        return ""
    system, _, rest = text.partition("/")
    architecture, _, variant = rest.partition("/")
    platform = {"os": system, "architecture": architecture}
    return json_text.dumps({**platform, "variant": variant} if variant else platform).decode()
