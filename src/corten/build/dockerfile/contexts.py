"""Named contexts: what `--build-context name=value` means where a Dockerfile says `name`. Pure; daemon.

The values are BuildKit's: `docker-image://reference`, `oci-layout://store[:tag][@digest]`, a git URL, an http(s) URL
(one file, called `context`), `local:<name>` for a tree that the client sends. A name is compared as images are, so that
`alpine` and `docker.io/library/alpine:latest` are one, and `name::platform` goes before `name`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from corten.build.git.url import parse_git_url
from corten.build.location import is_web_url, redacted, without_credentials
from corten.build.operations import Download, GitCheckout
from corten.errors import InvalidArgument
from corten.spec import reference as references
from corten.spec.digest import is_digest

IMAGE = "docker-image://"
LAYOUT = "oci-layout://"
_LOCAL = "local:"
_FILE = "context"
_REFUSED = {
    "target:": "a target of a bake file means something to `buildx bake` alone",
    "input:": "results of other builds are handed over by clients of BuildKit's API alone",
}
_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,512}\Z")
Fetched = GitCheckout | Download


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutName:
    """An image in an OCI layout of the client's: `store` is what the client calls that, its directory or any name.

    A digest counts more than a tag beside it; without both it is the tag `latest`, or the only image that there is.
    """

    store: str
    tag: str
    digest: str = ""


def is_context(name: str, value: str) -> bool:
    """Whether a name and what it stands for have the form of a named context."""
    return bool(_NAME.match(name)) and bool(value) and len(value) <= 8192 and "\0" not in value


def find_context(contexts: Mapping[str, str], name: str, platform: str) -> tuple[str, str] | None:
    """The key and the value of the named context that `name` means for a platform, if there is one."""
    if not contexts:
        return None
    normal = _normal(name)
    for suffix in (f"::{platform}",) if platform else ():
        for key, value in contexts.items():
            if key.endswith(suffix) and _is_same(key.removesuffix(suffix), name, normal):
                return key, value
    return next(((key, value) for key, value in contexts.items() if _is_same(key, name, normal)), None)


def _is_same(key: str, name: str, normal: str) -> bool:
    return key == name or bool(normal and _normal(key) == normal)


def _normal(name: str) -> str:
    """The reference in full, or nothing."""
    try:
        return str(references.parse(name).with_default_tag())
    except InvalidArgument:
        return ""


def image_of(value: str) -> str | None:
    """The image that a value names, or None."""
    return value.removeprefix(IMAGE) if value.startswith(IMAGE) else None


def layout_of(value: str) -> LayoutName | None:
    """The image of a layout that a value names, or None. Raises ValueError for one that names none."""
    if not value.startswith(LAYOUT):
        return None
    rest, _, digest = value.removeprefix(LAYOUT).partition("@")
    store, _, tag = rest.partition(":")
    if not store or (digest and not is_digest(digest)):
        raise ValueError(
            f"invalid OCI layout reference {value[:256]!r}: oci-layout://<directory>[:tag][@digest] is expected"
        )
    return LayoutName(store=store, tag=tag, digest=digest)


def fetched_of(key: str, value: str) -> Fetched | None:
    """What the daemon fetches for a value; None for a tree that the client sends.

    Raises ValueError for a value that is not supported, or wrong.
    """
    for prefix, reason in _REFUSED.items():
        if value.startswith(prefix):
            raise ValueError(f'the named context "{key}" cannot be used: {reason}')
    git = git_checkout(value)
    if git is not None:
        return git
    if is_web_url(value):
        url, authorization = without_credentials(value)
        return Download(url=url, name=_FILE, authorization=authorization)
    return None


def local_name(key: str, value: str) -> str:
    """What the client calls the tree."""
    return value.removeprefix(_LOCAL) if value.startswith(_LOCAL) else key


def git_checkout(text: str, *, keep_git_dir: bool | None = None, checksum: str = "") -> GitCheckout | None:
    """The operation for a git URL, with what flags say beside it; None for another source. Raises ValueError."""
    try:
        url = parse_git_url(text)
    except ValueError as error:
        raise ValueError(redacted(str(error))) from error
    if url is None:
        return None
    if keep_git_dir is not None and url.keep_git_dir not in (None, keep_git_dir):
        raise ValueError("inconsistent keep-git-dir configuration")
    if checksum and url.checksum and not (url.checksum.startswith(checksum) or checksum.startswith(url.checksum)):
        raise ValueError(f'checksum conflicts: "{checksum}" vs "{url.checksum}"')
    keeps = url.keep_git_dir if keep_git_dir is None else keep_git_dir
    return GitCheckout(
        remote=url.remote,
        ref=url.ref,
        subdir=url.subdir,
        checksum=max(checksum, url.checksum, key=len),
        keep_git_dir=bool(keeps),
        submodules=url.submodules is not False,
        authorization=url.authorization,
    )
