"""Stand-ins for what is made later than who needs it: services at their first use. Daemon only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Late:
    """Stands for a service that is made when it is first used."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make
        self._made: object = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)


class LateUse:
    """Which containers use an image; asked only when there are containers to ask."""

    directory: Any = None

    def uses(self, image_id: str) -> Any:
        """As the containers' directory says."""
        return self.directory.uses(image_id)
