"""Image references: `[domain/]path[:tag][@digest]`, their grammar, normal form and short form. Pure; any process.

Source: the grammar that distribution/reference documents, and the Docker Hub rules on top of it (default domain
docker.io, default namespace library/, default tag latest). Parsing is linear: no pattern here can backtrack badly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from corten.errors import InvalidArgument
from corten.spec.digest import Digest, hex_of, is_digest, parse_digest

DEFAULT_DOMAIN = "docker.io"
DEFAULT_NAMESPACE = "library/"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
_REFERENCE_LIMIT = 1024

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")
_DOMAIN = re.compile(
    r"(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
    r"(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?\Z"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_HEX_ID = re.compile(r"[0-9a-f]{64}\Z")


class InvalidReference(InvalidArgument):
    """The text is no image reference."""

    code = "invalid-reference"


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference: the domain is always there, and `library/` on Docker Hub's official images."""

    domain: str
    path: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """`domain/path`, without tag and digest."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The name as people write it: `busybox` for docker.io/library/busybox."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        rest = self.path.removeprefix(DEFAULT_NAMESPACE)
        if "/" not in rest:
            return rest
        # a namespace that looks like a host would be read as one
        first = self.path.partition("/")[0]
        return self.name if "." in first or first == "localhost" else self.path

    @property
    def familiar(self) -> str:
        """The whole reference as people write it."""
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.name + self._suffix

    @property
    def is_name_only(self) -> bool:
        """Neither tag nor digest."""
        return not self.tag and self.digest is None

    def with_default_tag(self) -> Reference:
        """With `:latest` when it is only a name."""
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def with_tag(self, tag: str) -> Reference:
        """The same name with `tag` instead of tag and digest. Raises InvalidReference."""
        if not _TAG.match(tag):
            raise InvalidReference("invalid tag format")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: str) -> Reference:
        """The same name with `digest` instead of tag and digest."""
        return replace(self, tag="", digest=parse_digest(digest))


def parse(text: str) -> Reference:
    """`text` as a normalised reference. Raises InvalidReference with Docker's texts."""
    if not text or len(text) > _REFERENCE_LIMIT:
        raise InvalidReference("invalid reference format")
    if _HEX_ID.match(text):
        raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
    rest, at, digest_text = text.partition("@")
    digest = _digest(digest_text) if at else None
    name, tag = _split_tag(rest)
    domain, path = _split_domain(name)
    if path.lower() != path and not _is_path(path):
        raise InvalidReference(f"invalid reference format: repository name ({path}) must be lowercase")
    if not _DOMAIN.match(domain) or not _is_path(path) or (tag is not None and not _TAG.match(tag)):
        raise InvalidReference("invalid reference format")
    if len(path) > NAME_LIMIT:
        raise InvalidReference(f"repository name must not be more than {NAME_LIMIT} characters")
    return Reference(domain, path, tag or "", digest)


def parse_image_name(text: str) -> Reference:
    """As `parse`, for a bare repository name. Raises InvalidReference when there is a tag or a digest."""
    reference = parse(text)
    if not reference.is_name_only:
        raise InvalidReference("invalid reference format: refusing a tag or digest in a repository name")
    return reference


def is_tag(text: str) -> bool:
    """Whether `text` can be a tag."""
    return _TAG.match(text) is not None


def id_prefix(text: str) -> str | None:
    """The lower-case hexadecimal digits when `text` can be an image id or a part of one, else None."""
    digits = hex_of(text) if text.startswith("sha256:") else text
    return digits if 0 < len(digits) <= 64 and re.fullmatch(r"[0-9a-f]+", digits) else None


def _digest(text: str) -> Digest:
    if not is_digest(text):
        try:
            return parse_digest(text)
        except InvalidArgument as error:
            raise InvalidReference(
                error.message if "unsupported" in error.message else "invalid reference format"
            ) from error
    return Digest(text)


def _split_tag(text: str) -> tuple[str, str | None]:
    colon = text.rfind(":")
    if colon > text.rfind("/"):
        return text[:colon], text[colon + 1 :]
    return text, None


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = bool(slash) and ("." in first or ":" in first or first == "localhost" or first.lower() != first)
    domain, path = (first, rest) if is_domain else (DEFAULT_DOMAIN, name)
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = DEFAULT_NAMESPACE + path
    return domain, path


def _is_path(path: str) -> bool:
    return bool(path) and all(_COMPONENT.match(part) for part in path.split("/"))
