"""Results of other builds that a build stands on, as a client hands them over (frontend inputs). Pure; daemon.

In a request they are named contexts whose value is `input://` and a name. That is no reference of an image, so that a
Dockerfile cannot say it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from corten.build.filesystem import FileSystem
from corten.spec.oci_image import Image

PREFIX = "input://"


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One platform's result: configuration, layers, and what brings those that are elsewhere. Whoever has built it
    holds its lease."""

    image: Image
    filesystem: FileSystem
    have: Callable[[FileSystem], Awaitable[None]]


def is_given(reference: str) -> bool:
    """Whether an image's reference means another build's result."""
    return reference.startswith(PREFIX)
