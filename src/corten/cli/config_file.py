"""The client's configuration, `config.json`: Docker's file, so that logins and habits are shared."""

from __future__ import annotations

import posix

from corten.cli.environment import variable
from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_SIZE = 8 << 20


def config_folder() -> str:
    """Where the client's configuration is: Docker's place, so that logins are shared."""
    found = variable("DOCKER_CONFIG")
    if found:
        return found
    home = variable("HOME")
    if not home:
        import os

        home = os.path.expanduser("~")
    return home.rstrip("/") + "/.docker"


def config_path() -> str:
    """Where the file is."""
    return f"{config_folder()}/config.json"


def has_config() -> bool:
    """Whether there is such a file; most users have none."""
    try:
        posix.stat(config_path())
    except OSError:
        return False
    return True


def read_config() -> dict[str, Any]:
    """Its content, empty when there is none. Raises CliError when it cannot be understood."""
    from corten.client import json_text

    path = config_path()
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_SIZE)
    except OSError:
        return {}
    if not data.strip():
        return {}
    try:
        found = json_text.loads(data)
    except ValueError as error:
        raise CliError(f"{path} is not JSON: {error}", hint="correct it, or move it away") from None
    if not isinstance(found, dict):
        raise CliError(f"{path} does not hold a JSON object", hint="correct it, or move it away")
    return found


def write_config(config: dict[str, Any]) -> None:
    """Replace the file as a whole; only its owner can read it."""
    import json
    import os

    path = os.path.realpath(config_path())
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(config, file, indent="\t", ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
