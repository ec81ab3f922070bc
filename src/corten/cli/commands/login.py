"""`corten login`."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.config_file import config_path
from corten.cli.credentials import HUB_SERVER, host_of, server_key, store_credentials, stored_credentials
from corten.cli.errors import CliError
from corten.cli.option import Option
from corten.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_PASSWORD = 64 << 10


def login(call: Call) -> None:
    """Check the credentials with the registry, through the engine, and remember them."""
    server = server_key(host_of(call.arguments[0])) if call.arguments else HUB_SERVER
    name, password = _given(call)
    auth: dict[str, Any] = {}
    if not name and not password:
        known = stored_credentials(server)
        if known:
            shown = known.get("username", "")
            sys.stdout.write(f"Authenticating with existing credentials... [Username: {shown}]\n")
            sys.stdout.flush()
            if _check(call, known, quiet=True):
                return
            sys.stderr.write("Login did not succeed, error: the stored credentials were refused\n")
    name = name or _ask("Username: ")
    if not name:
        raise CliError("Error: Non-null Username Required")
    if not password:
        password = _ask_secret("Password: ")
    if not password:
        raise CliError("Error: Password Required")
    auth = {"username": name, "password": password, "serveraddress": server}
    answer = _check(call, auth)
    if answer.get("IdentityToken"):
        auth["identitytoken"], auth["password"] = answer["IdentityToken"], ""
    helper = store_credentials(server, auth)
    if not helper:
        sys.stderr.write(
            f"\nWARNING! Your credentials are stored unencrypted in '{config_path()}'.\n"
            "A credential helper (credsStore in this file) keeps them elsewhere.\n\n"
        )
    sys.stdout.write(f"{answer.get('Status') or 'Login Succeeded'}\n")


def _given(call: Call) -> tuple[str, str]:
    values = call.values
    password: str = values["password"]
    if values.given("password"):
        sys.stderr.write("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n")
        if values["password-stdin"]:
            raise CliError("--password and --password-stdin are mutually exclusive")
    if values["password-stdin"]:
        if not values["username"]:
            raise CliError("Must provide --username with --password-stdin")
        password = sys.stdin.read(_MAX_PASSWORD).rstrip("\r\n")
    return values["username"], password


def _check(call: Call, auth: dict[str, Any], *, quiet: bool = False) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = call.client.call("POST", "/auth", body=auth) or {}
    except ApiError as error:
        if quiet and error.status == 401:
            return {}
        raise
    if quiet:
        sys.stdout.write(f"{answer.get('Status') or 'Login Succeeded'}\n")
    return answer or {"Status": "Login Succeeded"}


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise CliError("Error: Cannot perform an interactive login from a non TTY device")
    sys.stdout.write(prompt)
    sys.stdout.flush()
    return sys.stdin.readline().strip()


def _ask_secret(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise CliError("Error: Cannot perform an interactive login from a non TTY device")
    from getpass import getpass

    return getpass(prompt)


COMMAND = Command(
    "[OPTIONS] [SERVER]",
    login,
    (
        Option("-p, --password", "string", "Password or access token"),
        Option("--password-stdin", "bool", "Read the password from stdin"),
        Option("-u, --username", "string", "User name"),
    ),
    most=1,
    text="Log in to a registry, Docker Hub when none is named",
)
