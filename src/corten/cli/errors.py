"""What a command raises to end with a message and an exit status; `main` prints it."""

from __future__ import annotations

from corten.errors import CortenError


class CliError(CortenError):
    """A failure with the text and the exit status that the user sees.

    `prefixed` puts the program's name before the text, as Docker does for errors of `run` and of arguments.
    """

    code = "cli"

    def __init__(self, message: str, *, status: int = 1, hint: str = "", prefixed: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.prefixed = prefixed


class FlagError(CliError):
    """A wrong flag; `main` adds the usage of the command."""


class ExitStatus(Exception):
    """End with this exit status and say nothing more."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
