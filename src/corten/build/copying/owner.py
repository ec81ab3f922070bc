"""`--chown` and `--chmod` as numbers. Pure but for reading the target's account files; daemon.

Sources: the Dockerfile reference; a number alone is the group's, too, a name alone has its own group (BuildKit).
"""

from __future__ import annotations

from corten.engine.containers.users import Accounts, resolve_user
from corten.errors import InvalidArgument

_MODE_LIMIT = 0o7777


def owner_of(text: str, accounts: Accounts) -> tuple[int, int] | None:
    """User and group ids of `user[:group]`; None when nothing was said. Raises InvalidArgument."""
    if not text:
        return None
    user, colon, group = text.partition(":")
    if not colon or not group:
        group = user if user.isdigit() else ""
    identity = resolve_user(f"{user}:{group}" if group else user, (), accounts)
    return identity.uid, identity.gid


def mode_of(text: str) -> int | None:
    """The mode bits; None when nothing was said. Raises InvalidArgument."""
    if not text:
        return None
    try:
        mode = int(text, 8) if text.isascii() and text.isdigit() else -1
    except ValueError:
        mode = -1
    if not 0 <= mode <= _MODE_LIMIT:
        raise InvalidArgument(
            f"invalid chmod parameter: '{text[:64]}'. it should be octal string and between 0 and 07777"
        )
    return mode
