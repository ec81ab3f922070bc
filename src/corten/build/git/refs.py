"""Which commit a ref means, of those that a repository has. Pure; daemon.

The order is BuildKit's: a branch goes before a tag of the same name; an annotated tag means the commit behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from corten.build.git.error import GitError


@dataclass(frozen=True, slots=True, kw_only=True)
class Refs:
    """What a server has: ids by name, the commits behind annotated tags, and the branch that HEAD is."""

    ids: Mapping[str, str] = field(default_factory=dict)
    peeled: Mapping[str, str] = field(default_factory=dict)
    head: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A commit, the ref that led to it (in full, empty for none), and the object that this names: the commit, or the
    tag that is annotated."""

    commit: str
    ref: str = ""
    object_id: str = ""


def candidates(ref: str) -> list[str]:
    """The names in full that a ref may have, in the order that counts."""
    if not ref:
        return ["HEAD"]
    return list(
        dict.fromkeys(
            (
                "refs/heads/" + ref.removeprefix("refs/heads/"),
                "refs/tags/" + ref.removeprefix("refs/tags/"),
                "refs/" + ref.removeprefix("refs/"),
                ref,
            )
        )
    )


def resolve_ref(refs: Refs, ref: str, checksum: str) -> Resolved:
    """The commit. Raises GitError when there is none, or `checksum` is not where it begins."""
    name = next((name for name in candidates(ref) if name in refs.ids), "")
    if not name:
        raise GitError(
            f'repository does not contain ref "{ref}"' if ref else "could not find the default branch of the repository"
        )
    full = refs.head if name == "HEAD" else name
    found = Resolved(commit=refs.peeled.get(name, refs.ids[name]), ref=full, object_id=refs.ids[name])
    check_commit(found.commit, found.object_id, checksum)
    return found


def check_commit(commit: str, object_id: str, checksum: str) -> None:
    """Raise GitError when neither the commit nor the tag before it begins with `checksum`."""
    if checksum and not commit.startswith(checksum) and not object_id.startswith(checksum):
        raise GitError(f"expected checksum to match {checksum}, got {commit}")
