"""Docker's error body. Pure."""

from __future__ import annotations

import msgspec


class ErrorResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What every failed request answers; `hint` is Corten's own and may be missing."""

    message: str
    hint: str = ""
