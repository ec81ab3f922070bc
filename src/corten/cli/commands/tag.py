"""`corten tag`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.image_name import check_reference, full_name
from corten.client.query import quote


def tag(call: Call) -> None:
    """Give an image another name."""
    source, target = call.arguments
    try:
        name, suffix, digest = check_reference(target)
    except CliError as error:
        raise CliError(f'Error parsing reference: "{target}" is not a valid repository/tag: {error.message}') from None
    if digest:
        raise CliError("refusing to create a tag with a digest reference")
    query = {"repo": full_name(name), "tag": suffix or "latest"}
    call.client.call("POST", f"/images/{quote(source, '/:@')}/tag", query=query)


COMMAND = Command("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", tag, least=2, most=2)
