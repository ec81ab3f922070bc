"""What an address of git over ssh means: user, host, port, and the command that is run there. Pure; daemon.

The forms are git's: `ssh://[user@]host[:port]/path`, where `/~user/path` begins in a home, and `user@host:path`, whose
path begins in the user's home. Source: git-clone(1), "GIT URLS".
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from corten.build.git.error import GitError

_PORT = 22
_USER = "git"  # as all hosts have it; the engine's own user means nothing to them
_SERVICE = "git-upload-pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """Where to connect to, and `path`, as the server is told it."""

    user: str
    host: str
    port: int
    path: str

    @property
    def command(self) -> str:
        """For the server's shell."""
        return f"{_SERVICE} {quoted(self.path)}"


def is_ssh(remote: str) -> bool:
    """Whether a repository's address is one of these."""
    return remote.startswith("ssh://") or "://" not in remote


def ssh_target(remote: str) -> SshTarget:
    """The parts of an address. Raises GitError for one that a server could take for something else."""
    if remote.startswith("ssh://"):
        parts = urlsplit(remote)
        user, host, port = unquote(parts.username or _USER), parts.hostname or "", parts.port or _PORT
        path = unquote(parts.path)
        path = path[1:] if path.startswith("/~") else path
    else:
        user, _, rest = remote.partition("@")
        host, _, path = rest.partition(":")
        port = _PORT
    if not path.strip("/") or path.startswith("-") or "\0" in path or "\n" in path or not host:
        raise GitError(f"strange path {path[:128]!r} of a repository")  # CVE-2017-1000117 and its kind
    if not user.isprintable():  # it is shown, and may come from a repository
        raise GitError(f"strange user {user[:128]!r} of a server")
    return SshTarget(user=user, host=host, port=port, path=path)


def quoted(text: str) -> str:
    """A word for a shell; with `!`, which some expand even there."""
    return "'" + text.replace("'", "'\\''").replace("!", "'\\!'") + "'"
