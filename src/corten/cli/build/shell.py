"""`--debug`: a shell in the file system of the step that failed, in the container that the engine has made for it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.client.api import Client

NO_TERMINAL = "--debug opens a shell in the failed step's file system when standard input and output are a terminal\n"


def has_terminal() -> bool:
    """Whether somebody can type, and see what the shell says."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def open_shell(client: Client, container: str) -> None:
    """Start it and stay attached until it ends, or the user detaches; the engine removes it. What fails is said, and is
    no error: that is the build's."""
    from corten.cli.attached import AttachedContainer
    from corten.errors import CortenError

    sys.stderr.write("A shell in the file system of the failed step; what it changes is not kept. `exit` ends it.\n")
    sys.stderr.flush()
    try:
        with AttachedContainer(client, container, tty=True, stdin=True) as attached:
            client.call("POST", f"/containers/{container}/start")
            attached.copy()
    except CortenError as error:
        sys.stderr.write(f"The shell could not be opened: {error.message}\n")
    finally:
        try:
            client.call("DELETE", f"/containers/{container}", query={"force": "1", "v": "1"})
        except CortenError:
            pass  # it is gone already, as a rule
