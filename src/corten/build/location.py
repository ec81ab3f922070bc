"""URLs that people write, and the passwords in them: apart from each other from the first moment. Pure; daemon.

What is stored, shown, logged or digested is the URL without them; what is sent is the header.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, urlsplit, urlunsplit

_WEB = re.compile(r"https?://", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=[A-Za-z0-9+.-])://([^\s/?#]*)@")  # one pass, whatever the text: nothing to try again


def is_web_url(text: str) -> bool:
    """Whether it is fetched by HTTP."""
    return bool(_WEB.match(text))


def without_credentials(url: str) -> tuple[str, str]:
    """The URL without user and password, and the Authorization header that they make, or nothing.

    Raises ValueError for what is no URL.
    """
    parts = urlsplit(url)
    _checked = parts.port
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ValueError("a URL has no blanks and no control characters")
    head, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    user, _, password = head.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode("utf-8", "surrogateescape")
    return urlunsplit(parts._replace(netloc=host)), "Basic " + base64.b64encode(pair).decode()


def redacted(text: str) -> str:
    """Any text with the credentials of the URLs in it hidden, as BuildKit hides them."""
    if "@" not in text or "://" not in text:
        return text
    return _CREDENTIALS.sub(lambda found: "://xxxxx:xxxxx@" if ":" in found[1] else "://xxxxx@", text)
