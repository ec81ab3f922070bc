"""`corten pull`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError
from corten.cli.image_name import canonical, check_reference
from corten.cli.option import Option
from corten.cli.pulling import pull_all_tags, pull_image


def pull(call: Call) -> None:
    """Download, then print the name that the image now has."""
    values, image = call.values, call.arguments[0]
    name, tag, digest = check_reference(image)
    options = {"platform": values["platform"], "quiet": values["quiet"], "output": sys.stdout}
    if values["all-tags"]:
        if tag or digest:
            raise CliError("tag can't be used with --all-tags/-a")
        pull_all_tags(call.client, name, **options)
        sys.stdout.write(canonical(name).rpartition(":")[0] + "\n")
        return
    if not (tag or digest) and not values["quiet"]:
        sys.stdout.write("Using default tag: latest\n")
    pull_image(call.client, image, **options)
    sys.stdout.write(f"{canonical(image)}\n")


COMMAND = Command(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    pull,
    (
        Option("-a, --all-tags", "bool", "Download all tags of the repository"),
        Option("--disable-content-trust", "bool", "Accepted and ignored", default=True, hidden=True),
        Option("--platform", "string", "Platform of the image, when there are several"),
        Option("-q, --quiet", "bool", "Show no progress"),
    ),
    least=1,
    most=1,
)
