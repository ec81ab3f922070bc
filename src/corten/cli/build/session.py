"""What `corten build` offers to an engine on this machine: directories, secrets, ssh agents, credentials.

They are passed over a connection of their own (client/local_build.py). An engine elsewhere, or Docker's, is sent a tar,
and cannot ask for anything.
"""

from __future__ import annotations

import os

from corten.cli.build.context import context_of
from corten.cli.errors import CliError
from corten.client import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Generator, Mapping, Sequence
    from typing import Any

    from corten.cli.build.context import BuildContext
    from corten.client.api import Client
    from corten.client.local_build import LocalBuild

_SECRET_LIMIT = 500 << 10  # BuildKit's
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ALONE = "an engine on this machine that is Corten's"


class Secret:
    """A secret's source: a file, or a variable of the environment."""

    __slots__ = ("env", "name", "path")

    def __init__(self, name: str, path: str = "", env: str = "") -> None:
        self.name = name
        self.path = path
        self.env = env

    def value(self) -> bytes:
        """Read it. Raises CliError."""
        if self.env:
            return os.fsencode(os.environ.get(self.env, ""))
        try:
            with open(self.path, "rb") as file:
                data = file.read(_SECRET_LIMIT + 1)
        except OSError as error:
            raise CliError(f"secret {self.name}: {self.path}: {(error.strerror or '').lower()}") from None
        if len(data) > _SECRET_LIMIT:
            raise CliError(f"secret {self.name} too big. max size 500KB")
        return data


def parse_secret(text: str) -> Secret:
    """`id=NAME[,src=FILE][,env=VARIABLE][,type=file|env]`. Raises CliError with buildx's words."""
    values = _secret_fields(text)
    if values["type"] == "env" and not values["env"]:
        values["env"], values["src"] = values["src"], ""
    name, path, env = values["id"], values["src"], values["env"]
    if not name:
        raise CliError("secret missing ID")
    if not env and not path:
        env, path = (name, "") if name in os.environ else ("", name)
    if path and not os.path.exists(path):
        raise CliError(f"failed to stat {path}: stat {path}: no such file or directory")
    return Secret(name, path, env)


def _secret_fields(text: str) -> dict[str, str]:
    values = {"type": "", "id": "", "src": "", "env": ""}
    from corten.cli.create.csv_fields import split_fields

    try:
        fields = split_fields(text)
    except ValueError:
        raise CliError(f"failed to parse csv secret: {text}") from None
    for field in fields:
        key, equals, value = field.partition("=")
        key = {"source": "src"}.get(key.lower(), key.lower())
        if not equals:
            raise CliError(f"invalid field '{field}' must be a key=value pair")
        if key not in values:
            raise CliError(f"unexpected key '{key}' in '{field}'")
        if key == "type" and value not in ("file", "env"):
            raise CliError(f'unsupported secret type "{value}"')
        values[key] = value
    return values


def parse_ssh(text: str) -> tuple[str, str]:
    """`NAME[=SOCKET]`: what steps call an agent, and its socket. Raises CliError with buildx's words."""
    name, _, path = text.partition("=")
    path = path or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise CliError("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set")
    import stat

    try:
        is_socket = all(stat.S_ISSOCK(os.stat(part).st_mode) for part in path.split(","))
    except OSError as error:
        raise CliError(f"ssh {name}: {path}: {(error.strerror or '').lower()}") from None
    if not is_socket or "," in path:
        raise CliError(
            f"ssh {name}: {path} is no agent's socket: keys are only forwarded by an agent",
            hint=f"ssh-add {path.split(',')[0]}, and give --ssh {name}",
        )
    return name or "default", path


def parse_contexts(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=DIR` or `NAME=URL`, by name. Raises CliError with buildx's words."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CliError(f"invalid context value: {text}, expected key=value")
        found[name.removesuffix(":latest")] = value
    return found


def is_directory_context(value: str) -> bool:
    """Whether a named context is a directory here, and not a URL, an image or a stage."""
    return "://" not in value and not value.startswith(("target:", "git@"))


class Offers:
    """What the engine may ask for; all options are checked at once. `contexts` are those by name."""

    def __init__(self, values: Any) -> None:
        self.contexts = parse_contexts(values["build-context"])
        self._secrets = {secret.name: secret for secret in map(parse_secret, values["secret"])}
        self._agents: dict[str, str] = {}
        for text in values["ssh"]:
            name, path = parse_ssh(text)
            if name in self._agents:
                raise CliError(f"invalid duplicate ID {name}")
            self._agents[name] = path

    def secret(self, name: str) -> bytes | None:
        """See client.local_build.Answers."""
        found = self._secrets.get(name)
        return None if found is None else found.value()

    def agent(self, name: str) -> _socket.socket | None:
        """See client.local_build.Answers."""
        import _socket

        path = self._agents.get(name)
        if path is None:
            return None
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            raise CliError(f"ssh agent {name}: {path}: {(error.strerror or '').lower()}") from None
        return sock

    def credentials(self, keys: Sequence[str]) -> dict[str, str] | None:
        """See client.local_build.Answers."""
        from corten.cli.credentials import stored_credentials

        return next((found for key in keys if (found := stored_credentials(key))), None)

    def refuse(self) -> None:
        """Raise CliError when something is offered, to an engine that cannot ask for it."""
        directories = [name for name, value in self.contexts.items() if is_directory_context(value)]
        if directories:
            raise CliError(f"--build-context {directories[0]}=DIRECTORY needs {_ALONE}")
        for names, option in ((self._secrets, "--secret"), (self._agents, "--ssh")):
            if names:
                raise CliError(f"{option} needs {_ALONE}")


def messages(client: Client, values: Any, source: str, query: Mapping[str, object]) -> Generator[dict[str, Any]]:
    """What the engine says of a build, which begins, and ends with this iterator, to be closed: it reads a directory
    itself when it can, else a tar is sent.
    `values` are the options, `query` is that of POST /build. Raises CliError, ApiError, ConnectionBroken."""
    offers = Offers(values)
    context = context_of(source, values["file"] or "")
    others = {name: value for name, value in offers.contexts.items() if not is_directory_context(value)}
    query = {**query, "contexts": json_text.dumps(others).decode() if others else "", "dockerfile": context.dockerfile}
    query["remote"] = context.remote
    if not context.archive:
        found = local_messages(client, offers, context, query)
        if found is not None:
            return found
    from corten.cli.credentials import all_credentials, encode_auth

    offers.refuse()
    dockerfile, data = context.as_tar()
    return client.messages(
        "POST",
        "/build",
        query={**query, "dockerfile": dockerfile},
        data=data,
        headers={"Content-Type": "application/x-tar", "X-Registry-Config": encode_auth(all_credentials())},
    )


def local_messages(
    client: Client, offers: Offers, context: BuildContext, query: Mapping[str, object]
) -> Generator[dict[str, Any]] | None:
    """The messages of a build of directories; None when the engine takes none. Raises as `messages`."""
    from corten.client.local_build import open_local

    build = open_local(client)
    if build is None:
        return None
    opened: dict[str, int] = {}
    try:
        for name, path in {"": context.directory, **offers.contexts}.items():
            if path and (not name or is_directory_context(path)):
                opened[name] = _opened(name, path)
        if query["cachefrom"] or query["cacheto"]:
            from corten.cli.build.caches import cache_directories

            opened.update(cache_directories(query))
        wanted = {name: value for name, value in ((n, _plain(v)) for n, v in query.items()) if value != ""}
        is_begun = build.begin(wanted, opened, context.texts)
    except BaseException:
        build.close()
        raise
    finally:
        for fd in opened.values():
            os.close(fd)
    if not is_begun:
        build.close()
        return None
    return _followed(build, offers)


def _followed(build: LocalBuild, offers: Offers) -> Generator[dict[str, Any]]:
    try:
        yield from build.messages(offers)
    finally:
        build.close()


def _opened(name: str, path: str) -> int:
    try:
        return os.open(path, _DIRECTORY)
    except OSError as error:
        what = f"failed to get build context {name}" if name else "unable to prepare context"
        raise CliError(f"{what}: {path}: {(error.strerror or '').lower()}") from None


def _plain(value: object) -> str | list[str]:
    """As a query has it."""
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    return "" if value is None or value is False else "1" if value is True else str(value)
