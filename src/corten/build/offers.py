"""What the client of the classic API offers: credentials that came with the request, and nothing else. Pure; daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corten.build.face import AgentStream
from corten.registry.credentials import ANONYMOUS, Credentials


class ClassicOffers:
    """Credentials by registry."""

    def __init__(self, credentials: Mapping[str, Credentials]) -> None:
        self._credentials = credentials

    async def secret(self, name: str) -> bytes | None:  # noqa: ARG002 - the form of offers
        """None."""
        return None

    async def agent(self, name: str) -> AgentStream | None:  # noqa: ARG002 - the form of offers
        """None."""
        return None

    async def credentials(self, keys: Sequence[str]) -> Credentials:
        """The first that is known."""
        return next((self._credentials[key] for key in keys if key in self._credentials), ANONYMOUS)
