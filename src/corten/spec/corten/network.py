"""Wire types for networks beyond Docker's API. Pure; daemon. Documented in docs/networks.md."""

from __future__ import annotations

import msgspec


class PeersRequest(msgspec.Struct, rename="pascal", kw_only=True):
    """Body of POST /corten/networks/{id}/peers: addresses of hosts."""

    add: list[str] = []
    remove: list[str] = []
