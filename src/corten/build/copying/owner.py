"""`--chown` as numbers. Pure but for reading the target's account files; daemon.

Sources: the Dockerfile reference; a number alone is the group's, too, a name alone has its own group (BuildKit).
"""

from __future__ import annotations

from corten.engine.containers.users import Accounts, resolve_user


def owner_of(text: str, accounts: Accounts) -> tuple[int, int] | None:
    """User and group ids of `user[:group]`; None when nothing was said. Raises InvalidArgument."""
    if not text:
        return None
    user, colon, group = text.partition(":")
    if not colon or not group:
        group = user if user.isdigit() else ""
    identity = resolve_user(f"{user}:{group}" if group else user, (), accounts)
    return identity.uid, identity.gid
