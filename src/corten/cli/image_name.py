"""Image references as the client needs them: checks before a request, and the short form that people read.

Grammar: github.com/distribution/reference. The engine has the full parser; this one only splits and checks.
"""

from __future__ import annotations

from corten.cli.errors import CliError

_HUB = "docker.io"
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")
_TAG = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_HEX = frozenset("0123456789abcdef")


def split_reference(text: str) -> tuple[str, str, str]:
    """(name, tag, digest) as written, the last two perhaps empty."""
    name, _, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, tag, digest
    return name, "", digest


def split_domain(name: str) -> tuple[str, str]:
    """(registry, path): docker.io and library/ are filled in."""
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        domain, path = ("docker.io" if first == "index.docker.io" else first), rest
    else:
        domain, path = _HUB, name
    if domain == _HUB and "/" not in path:
        path = f"library/{path}"
    return domain, path


def check_reference(text: str, *, prefixed: bool = False, status: int | None = None) -> tuple[str, str, str]:
    """Split it; raises CliError with Docker's words when it cannot be a reference."""
    name, tag, digest = split_reference(text)
    code = status if status is not None else (125 if prefixed else 1)
    domain, path = split_domain(name)
    if len(text) == 64 and _HEX.issuperset(text):
        raise CliError(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings",
            status=code,
            prefixed=prefixed,
        )
    if path != path.lower() and _valid_path(path.lower()):
        raise CliError(
            f"invalid reference format: repository name ({path}) must be lowercase", status=code, prefixed=prefixed
        )
    fine = (
        bool(name)
        and _valid_path(path)
        and bool(domain)
        and (not tag or (len(tag) <= 128 and _TAG.issuperset(tag) and tag[0] not in ".-"))
        and (tag != "" or not text.partition("@")[0].endswith(":"))
        and ("@" not in text or _valid_digest(digest))
    )
    if not fine:
        raise CliError("invalid reference format", status=code, prefixed=prefixed)
    return name, tag, digest


def _valid_path(path: str) -> bool:
    return bool(path) and all(
        part and _LOWER.issuperset(part) and part[0].isalnum() and part[-1].isalnum() for part in path.split("/")
    )


def _valid_digest(text: str) -> bool:
    algorithm, colon, value = text.partition(":")
    return bool(colon and algorithm) and len(value) >= 32 and _HEX.issuperset(value)


def familiar(text: str) -> str:
    """`busybox:latest` for `docker.io/library/busybox`: without what is filled in, with the tag."""
    name, tag, digest = split_reference(text)
    short = familiar_name(name)
    if digest:
        return f"{short}:{tag}@{digest}" if tag else f"{short}@{digest}"
    return f"{short}:{tag or 'latest'}"


def familiar_name(name: str) -> str:
    """Without docker.io/ and library/."""
    domain, path = split_domain(name)
    return path.removeprefix("library/") if domain == _HUB else f"{domain}/{path}"


def full_name(name: str) -> str:
    """With docker.io/ and library/."""
    return "/".join(split_domain(name))


def canonical(text: str) -> str:
    """`docker.io/library/busybox:latest`."""
    name, tag, digest = split_reference(text)
    domain, path = split_domain(name)
    base = f"{domain}/{path}"
    if digest:
        return f"{base}:{tag}@{digest}" if tag else f"{base}@{digest}"
    return f"{base}:{tag or 'latest'}"
