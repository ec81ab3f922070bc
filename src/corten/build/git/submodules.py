"""`.gitmodules`: where the repositories within a repository come from. Pure; disk threads.

It is the repository's word, so it is held to what git allows there: no options in disguise (CVE-2018-17456), no
transports but HTTP, git's own and ssh (CVE-2022-39253). Source: gitmodules(5), git-config(1) "Syntax".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from corten.build.git.error import GitError
from corten.build.location import redacted, without_credentials

_SECTION = re.compile(r'\[\s*submodule\s+"((?:[^"\\]|\\.)*)"\s*\]')
_OTHER = re.compile(r"\[")
_SETTING = re.compile(r"([A-Za-z][A-Za-z0-9-]*)\s*(?:=\s*(.*))?\Z")
_LINES_LIMIT = 20_000
_SCHEMES = ("http", "https", "git", "ssh")
_SCP = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*@[A-Za-z0-9_.][A-Za-z0-9_.-]*:\S+\Z")


@dataclass(frozen=True, slots=True)
class Submodule:
    """One entry; `is_left_out` is `update = none`."""

    url: str
    is_left_out: bool = False


def parse_gitmodules(data: bytes) -> Mapping[str, Submodule]:
    """The entries by their path. Lines that are no settings are skipped, as they bring nothing."""
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for row in data.decode("utf-8", "surrogateescape").splitlines()[:_LINES_LIMIT]:
        text = row.strip()
        if section := _SECTION.match(text):
            current = sections.setdefault(section[1], {})
            text = text[section.end() :].strip()
        elif _OTHER.match(text):
            current = None
        setting = _SETTING.match(text)
        if setting and current is not None:
            current[setting[1].lower()] = _value(setting[2] or "")
    return {
        found["path"].strip("/"): Submodule(found.get("url", ""), found.get("update", "") == "none")
        for found in sections.values()
        if found.get("path")
    }


def _value(text: str) -> str:
    """A value without its quotes and comment."""
    out: list[str] = []
    quoted = False
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            at += 1
            out.append({"n": "\n", "t": "\t", "b": "\b"}.get(text[at], text[at]))
        elif char == '"':
            quoted = not quoted
        elif char in "#;" and not quoted:
            break
        else:
            out.append(char)
        at += 1
    return "".join(out).strip()


def submodule_remote(parent: str, url: str, path: str) -> tuple[str, str]:
    """The URL of a submodule of the repository `parent` (without credentials), and its own Authorization header.

    Raises GitError for one that is not fetched.
    """
    if url.startswith(("./", "../")):
        url = _joined(parent, url)
    if _SCP.match(url) and url.isprintable():
        return url, ""
    try:
        parts = urlsplit(url)
        scheme = parts.scheme.lower()
        if scheme not in _SCHEMES or not parts.hostname:
            raise ValueError
        if scheme == "ssh":
            without_credentials(url)  # which checks it
            if parts.password is not None:
                raise ValueError
            return url, ""
        return without_credentials(url)
    except ValueError:
        shown = redacted("".join(char for char in url if char.isprintable()))[:128]
        raise GitError(
            f"the submodule {path[:128]!r} comes from {shown!r}: only http, https, git and ssh URLs are fetched",
            hint="?submodules=false leaves submodules out",
        ) from None


def _joined(parent: str, url: str) -> str:
    """A URL that is relative to the parent's."""
    scheme, _, rest = parent.partition("://")
    if not rest:  # user@host:path, the path of which may begin in a home
        host, _, path = parent.partition(":")
        below = urljoin(f"http://h/{path.strip('/')}/", url).removeprefix("http://h/")
        return f"{host}:/{below}" if path.startswith("/") else f"{host}:{below}"
    joined = urljoin(f"http://{rest}".rstrip("/") + "/", url)  # it knows no git://
    return f"{scheme}{joined.removeprefix('http')}"
