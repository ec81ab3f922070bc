"""The tokens that a build's client offers for git servers, under the names that BuildKit gives them. Daemon's loop.

`GIT_AUTH_HEADER` is a whole Authorization header, `GIT_AUTH_TOKEN` a token; with `.<host>` behind it, it is for that
host. They are asked for when a URL has no credentials of its own, and sent to the repository's server alone.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import urlsplit

from corten.build.face import Offers
from corten.build.git.error import GitError
from corten.build.git.url import GitUrl

_HEADER, _TOKEN = "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"
_LIMIT = 16 << 10


async def authorized(url: GitUrl, offers: Offers) -> GitUrl:
    """The URL with what the client offers for its host. Raises GitError for a secret that no header can be."""
    if url.authorization or url.scheme not in ("http", "https"):
        return url
    host = urlsplit(url.remote).netloc
    for name in (f"{_HEADER}.{host}", f"{_TOKEN}.{host}", _HEADER, _TOKEN):
        value = await offers.secret(name)
        if value is None:
            continue
        text = value.decode("utf-8", "replace").strip()
        if len(value) > _LIMIT or not text.isprintable():
            raise GitError(f"the secret {name} is no header's value")
        if name.startswith(_TOKEN):
            text = "Basic " + base64.b64encode(f"x-access-token:{text}".encode()).decode()
        return replace(url, authorization=text)
    return url
