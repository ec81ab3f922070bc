"""A bound for what a daemon holds of what strangers have sent it, all of them together. Pure; daemon's loop.

Each may send large things; many of them at once may not.
"""

from __future__ import annotations

from corten.errors import ResourceExhausted


class Memory:
    """So many bytes, shared by all who have this object."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Have so many more, or fewer. Raises ResourceExhausted."""
        if size > 0 and size > self._left:
            raise ResourceExhausted("clients have sent too much at once for their builds: try again later")
        self._left -= size
