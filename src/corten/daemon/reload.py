"""SIGHUP: read daemon.json again and take over what may change while containers run. Daemon only, on the loop.

A file that cannot be used changes nothing: the old configuration goes on, and the reason is logged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from corten.daemon.config import Config, load
from corten.daemon.options import OPTIONS
from corten.errors import CortenError

_LOG = logging.getLogger("corten.daemon")


def reload(config: Config, apply: Callable[[Config], None]) -> dict[str, str] | None:
    """Take over the reloadable options of the file as it is now; returns the attributes of the `reload` event.

    None: the file is unusable. `config` is changed in place.
    """
    try:
        fresh = load(config.flags)
    except CortenError as error:
        _LOG.error("configuration not reloaded: %s", error.message)
        return None
    changed = sorted(name for name in OPTIONS if fresh.values[name] != config.values[name])
    fixed = [name for name in changed if not OPTIONS[name].reloadable]
    if fixed:
        _LOG.warning("these options need a restart: %s", ", ".join(fixed))
    for name, option in OPTIONS.items():
        if option.reloadable:
            config.values[name] = fresh.values[name]
    apply(config)
    _LOG.info("configuration reloaded", extra={"changed": ",".join(changed) or "nothing"})
    return {name: _shown(config.values[name]) for name, option in OPTIONS.items() if option.reloadable and option.used}


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))
