"""API versions: what is spoken, and the refusal of what is not, in Docker's words. Pure; daemon only.

The newest version is the one whose fields the handlers know. Handlers read `request.version` for the few fields whose
meaning changed; everything else is the same for every client.
"""

from __future__ import annotations

import re

from corten import __version__
from corten.api.routing import ApiVersion
from corten.errors import InvalidArgument

MIN: ApiVersion = (1, 24)
MAX: ApiVersion = (1, 50)
MIN_TEXT = f"{MIN[0]}.{MIN[1]}"
MAX_TEXT = f"{MAX[0]}.{MAX[1]}"

# Tools compare the engine's version with Docker's releases: it is that of the release whose API this is, with Corten's
# own behind the plus, as distributions mark their builds (26.1.5+dfsg1).
ENGINE_VERSION = f"28.2.2+corten{__version__}"

_PREFIX = re.compile(r"/v([0-9.]+)(/.*)")


def split_version(path: str) -> tuple[str, str]:
    """(version text or "", path without it)."""
    if path.startswith("/v"):
        match = _PREFIX.fullmatch(path)
        if match:
            return match[1], match[2]
    return "", path


def negotiate(text: str) -> ApiVersion:
    """The version that the client's path names; no text means the newest. Raises InvalidArgument."""
    if not text:
        return MAX
    numbers = text.split(".")
    if len(numbers) != 2 or not all(n.isdigit() and len(n) < 5 for n in numbers):
        raise InvalidArgument(f"invalid API version: {text[:32]}")
    version = (int(numbers[0]), int(numbers[1]))
    if version < MIN:
        raise InvalidArgument(
            f"client version {text} is too old. Minimum supported API version is {MIN_TEXT}, "
            "please upgrade your client to a newer version"
        )
    if version > MAX:
        raise InvalidArgument(f"client version {text} is too new. Maximum supported API version is {MAX_TEXT}")
    return version
