"""Pulling an image, for `pull`, `run` and `create`."""

from __future__ import annotations

import os

from corten.cli.image_name import check_reference, full_name, split_domain
from corten.cli.progress import show_progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from corten.client.api import Client


def pull_image(client: Client, image: str, *, platform: str, quiet: bool, output: TextIO) -> None:
    """Pull and show the progress on `output`. Raises ApiError, CliError."""
    from corten.cli.credentials import registry_auth

    name, tag, digest = check_reference(image)
    query = {
        "fromImage": full_name(name),
        "tag": digest or tag or "latest",
        "platform": platform or os.environ.get("DOCKER_DEFAULT_PLATFORM", ""),
    }
    headers = {"X-Registry-Auth": registry_auth(split_domain(name)[0])}
    messages = client.messages("POST", "/images/create", query=query, headers=headers)
    if not quiet:
        show_progress(messages, output)
        return
    with open(os.devnull, "w") as nothing:
        show_progress(messages, nothing)


def pull_all_tags(client: Client, name: str, *, platform: str, quiet: bool, output: TextIO) -> None:
    """`pull -a`."""
    from corten.cli.credentials import registry_auth

    query = {"fromImage": full_name(name), "platform": platform}
    headers = {"X-Registry-Auth": registry_auth(split_domain(name)[0])}
    messages = client.messages("POST", "/images/create", query=query, headers=headers)
    if not quiet:
        show_progress(messages, output)
        return
    with open(os.devnull, "w") as nothing:
        show_progress(messages, nothing)
