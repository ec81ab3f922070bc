"""The `platform` parameters of requests. Pure; daemon only."""

from __future__ import annotations

from collections.abc import Sequence

from corten.lib import codec
from corten.spec.oci_image import PlatformInfo


def platform_of(text: str) -> str:
    """A `platform` parameter: JSON of an OCI platform, or `os/arch[/variant]`. Raises InvalidArgument."""
    if not text.startswith("{"):
        return text
    return str(codec.decode(PlatformInfo, text.encode()).to_platform())


def platforms_of(values: Sequence[str]) -> list[str]:
    """A parameter for several platforms: repeated, each as in `platform_of`, or a JSON list of strings of JSON.

    Raises InvalidArgument.
    """
    found: list[str] = []
    for value in values:
        found += codec.decode(list[str], value.encode()) if value.startswith("[") else [value]
    return [platform_of(text) for text in found if text]
