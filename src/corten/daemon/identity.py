"""Which engine this is, however often it starts: an identity kept in the data root. Daemon only."""

from __future__ import annotations

import os
import uuid

from corten.daemon.config import Config
from corten.lib.atomicfile import write_atomic


def engine_id(config: Config) -> str:
    """This engine's identity, made once and kept in the data root."""
    path = config.data_root / "engine-id"
    try:
        known = path.read_text(encoding="ascii").strip()
        if known:
            return known
    except FileNotFoundError:
        pass
    fresh = str(uuid.UUID(bytes=os.urandom(16), version=4))
    write_atomic(path, f"{fresh}\n".encode())
    return fresh
