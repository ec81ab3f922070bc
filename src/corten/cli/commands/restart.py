"""`corten restart`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.commands.stop import OPTIONS, stop_each


def restart(call: Call) -> None:
    """Restart each container."""
    stop_each(call, "restart")


COMMAND = Command("[OPTIONS] CONTAINER [CONTAINER...]", restart, OPTIONS, least=1, most=None)
