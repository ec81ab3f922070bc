"""Sending the create request for `run` and `create`: the pull of a missing image, warnings, and the ID file."""

from __future__ import annotations

import posix
import sys

from corten.cli.command import Call
from corten.cli.errors import CliError
from corten.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from corten.cli.create.body import Body

_PULL = ("always", "missing", "never", "")


def create_container(call: Call, body: Body, *, meanwhile: Callable[[], None] | None = None) -> str:
    """Create it and return its ID; `meanwhile` is called while the engine works. Raises CliError, ApiError."""
    values, image = call.values, body["Image"]
    pull = values["pull"]
    if pull not in _PULL:
        raise CliError(
            f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"', status=125, prefixed=True
        )
    _add_proxies(call, body)
    running = call.name.endswith("run")
    id_file = _IdFile(values["cidfile"], prefixed=running)
    _check_image(image, prefixed=running)
    try:
        if pull == "always":
            _pull(call, image)
        query = {"name": values["name"], "platform": values["platform"]}
        try:
            sent = call.client.send("POST", "/containers/create", query=query, body=body)
            if meanwhile is not None:
                meanwhile()
            answer = call.client.receive(sent)
        except ApiError as error:
            if error.status != 404 or pull not in ("missing", ""):
                raise
            if not values["quiet"]:
                from corten.cli.image_name import familiar

                sys.stderr.write(f"Unable to find image '{familiar(image)}' locally\n")
            _pull(call, image)
            answer = call.client.call("POST", "/containers/create", query=query, body=body)
        container: str = answer["Id"]
        id_file.write(container)
    finally:
        id_file.close()
    for warning in answer.get("Warnings") or ():
        sys.stderr.write(f"WARNING: {warning}\n")
    return container


def _add_proxies(call: Call, body: Body) -> None:
    """config.json's `proxies` become environment variables of the container; most users have no such file."""
    from corten.cli.config_file import has_config

    if has_config():
        from corten.cli.create.env_files import with_proxies

        variables = with_proxies(body.get("Env") or [], call.client.address.host)
        if variables:
            body["Env"] = variables


def _check_image(image: str, *, prefixed: bool) -> None:
    """Upper case and other wrong names are found before the engine is asked."""
    if image.islower() and image.isascii() and image.isalpha():
        return
    from corten.cli.image_name import check_reference

    check_reference(image, prefixed=prefixed)


def _pull(call: Call, image: str) -> None:
    from corten.cli.pulling import pull_image

    quiet = call.values["quiet"]
    pull_image(call.client, image, platform=call.values["platform"], quiet=quiet, output=sys.stderr)


class _IdFile:
    """--cidfile: made before the container, so that a taken name costs nothing; removed when nothing was created."""

    def __init__(self, path: str, *, prefixed: bool) -> None:
        status = 125 if prefixed else 1
        self._path = path
        self._fd = -1
        self._written = False
        if not path:
            return
        try:
            self._fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o666)
        except FileExistsError:
            raise CliError(
                f"container ID file found, make sure the other container isn't running or delete {path}",
                status=status,
                prefixed=prefixed,
            ) from None
        except OSError as error:
            raise CliError(
                f"failed to create the container ID file: open {path}: {(error.strerror or '').lower()}",
                status=status,
                prefixed=prefixed,
            ) from None

    def write(self, container: str) -> None:
        """Keep the file with the ID in it."""
        if self._fd >= 0:
            posix.write(self._fd, container.encode())
            self._written = True

    def close(self) -> None:
        """Remove the file when there is no container."""
        if self._fd >= 0:
            posix.close(self._fd)
            if not self._written:
                posix.unlink(self._path)
