"""--health-* and --no-healthcheck."""

from __future__ import annotations

from corten.cli.errors import CliError
from corten.cli.option import Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELDS = {
    "health-interval": "Interval",
    "health-timeout": "Timeout",
    "health-start-period": "StartPeriod",
    "health-start-interval": "StartInterval",
    "health-retries": "Retries",
}


def health_check(values: Values) -> dict[str, Any]:
    """Config.Healthcheck, empty for the image's own. Raises CliError."""
    command = values["health-cmd"]
    settings = {name: values[name] for name in _FIELDS if values[name]}
    if values["no-healthcheck"]:
        if command or settings:
            raise CliError("--no-healthcheck conflicts with --health-* options", status=125, prefixed=True)
        return {"Test": ["NONE"]}
    for name, value in settings.items():
        if value < 0:
            raise CliError(f"--{name} cannot be negative", status=125, prefixed=True)
    check: dict[str, Any] = {_FIELDS[name]: value for name, value in settings.items()}
    if command:
        check["Test"] = ["CMD-SHELL", command]
    return check
