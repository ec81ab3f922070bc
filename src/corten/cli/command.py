"""What a command is, and what it is called with."""

from __future__ import annotations

from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corten.cli.option import Option, Values
    from corten.client.api import Client


class Command:
    """One command: its usage line (without the program's name), options, how many arguments it takes, and its function.

    `most` is None for any number. With `interspersed=False` options after the first argument belong to the container.
    """

    __slots__ = ("arguments", "interspersed", "least", "most", "options", "run", "text", "usage")

    def __init__(
        self,
        usage: str,
        run: Callable[[Call], int | None],
        options: Sequence[Option] = (),
        *,
        least: int = 0,
        most: int | None = 0,
        interspersed: bool = True,
        text: str = "",
    ) -> None:
        self.usage = usage
        self.run = run
        self.options = options
        self.least = least
        self.most = most
        self.interspersed = interspersed
        self.text = text


class Call:
    """One use of a command: its words (`corten container run`), option values, arguments and the engine."""

    __slots__ = ("_client", "_make_client", "arguments", "name", "values")

    def __init__(self, name: str, values: Values, arguments: list[str], make_client: Callable[[], Client]) -> None:
        self.name = name
        self.values = values
        self.arguments = arguments
        self._make_client = make_client
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The engine's client, made at its first use."""
        if self._client is None:
            self._client = self._make_client()
        return self._client


def check_arguments(command: Command, name: str, count: int) -> None:
    """Raise CliError with Docker's words when there are too few or too many arguments."""
    least, most = command.least, command.most
    if count >= least and (most is None or count <= most):
        return
    see = "Run"
    if most == 0:
        text = f"'{name}' accepts no arguments"
    elif most is None:
        text, see = f"'{name}' requires at least {_arguments(least)}", "See"
    elif least == most:
        text = f"'{name}' requires {_arguments(least)}"
    elif least == 0:
        text = f"'{name}' requires at most {_arguments(most)}"
    else:
        text = f"'{name}' requires at least {least} and at most {_arguments(most)}"
    usage = usage_line(command, name)
    raise CliError(f"{text}\n\nUsage:  {usage}\n\n{see} '{name} --help' for more information", prefixed=True)


def _arguments(count: int) -> str:
    return f"{count} argument" + ("" if count == 1 else "s")


def usage_line(command: Command, name: str) -> str:
    """The usage with the command's words as the user wrote them; further lines are alternatives."""
    first, *others = command.usage.split("\n")
    lines = [f"{name} {first}".rstrip()]
    return "\n".join([*lines, *(f"\t{name} {other}" for other in others)])
