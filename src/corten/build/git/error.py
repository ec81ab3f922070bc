"""What can be wrong with a git repository, or the way to it. Pure; daemon."""

from __future__ import annotations

from corten.errors import CortenError


class GitError(CortenError):
    """The repository cannot be had, or is none that files are taken of."""

    code = "build-git-failed"


class NotOurRef(GitError):
    """The server gives no object of that id by itself, or no history cut short."""

    code = "build-git-not-our-ref"
