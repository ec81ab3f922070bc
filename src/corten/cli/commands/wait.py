"""`corten wait`."""

from __future__ import annotations

from corten.cli.command import Call, Command
from corten.cli.each import for_each
from corten.client.errors import ApiError
from corten.client.query import quote


def wait(call: Call) -> None:
    """Wait for each container in turn and print its exit status."""

    def act(name: str) -> str:
        answer = call.client.call("POST", f"/containers/{quote(name)}/wait")
        failure = answer.get("Error")
        if failure and failure.get("Message"):
            raise ApiError(500, failure["Message"])
        return str(answer["StatusCode"])

    for_each(call.arguments, act)


COMMAND = Command("CONTAINER [CONTAINER...]", wait, least=1, most=None)
