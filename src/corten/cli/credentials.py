"""Registry credentials: config.json's `auths`, and the helpers named by `credsStore` and `credHelpers`.

Source: the docker-credential-helpers protocol (a program per store; one verb; JSON in and out).
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from corten.cli.config_file import read_config, write_config
from corten.cli.errors import CliError
from corten.client import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HUB_SERVER = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - a marker of the protocol
_NOT_FOUND = "credentials not found in native keychain"
_HELPER_TIMEOUT_S = 120
_FIELDS = ("username", "password", "identitytoken", "registrytoken")


def server_key(registry: str) -> str:
    """How a registry is named in config.json."""
    return HUB_SERVER if registry in ("docker.io", "index.docker.io", "registry-1.docker.io") else registry


def host_of(key: str) -> str:
    """`https://reg.example/v1/` without what older clients wrote around the host."""
    return key.removeprefix("https://").removeprefix("http://").split("/", 1)[0]


def registry_auth(registry: str) -> str:
    """The X-Registry-Auth header for a registry: base64url of AuthConfig, `e30=` for nobody."""
    found = stored_credentials(server_key(registry))
    return encode_auth(found)


def encode_auth(auth: dict[str, Any]) -> str:
    """base64url of the JSON."""
    return _base64(json_text.dumps(auth)).replace("+", "-").replace("/", "_")


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def stored_credentials(server: str) -> dict[str, str]:
    """AuthConfig of a server as logged in, empty when not. Raises CliError when a helper fails."""
    config = read_config()
    helper = _helper_for(config, server)
    if helper:
        return _from_helper(helper, server)
    return _from_file(config, server)


def all_credentials() -> dict[str, dict[str, str]]:
    """AuthConfig of every server that there is a login for, by the registry's host. Raises CliError."""
    config = read_config()
    keys = [*(config.get("auths") or {}), *(config.get("credHelpers") or {})]
    found = {"docker.io" if key == HUB_SERVER else host_of(key): stored_credentials(key) for key in keys}
    return {host: auth for host, auth in found.items() if auth}


def _helper_for(config: dict[str, Any], server: str) -> str:
    helpers = config.get("credHelpers") or {}
    return str(helpers.get(server) or helpers.get(host_of(server)) or config.get("credsStore") or "")


def _from_file(config: dict[str, Any], server: str) -> dict[str, str]:
    entries = _entries(config)
    entry = entries.get(server)
    if entry is None:
        entry = next((found for key, found in entries.items() if host_of(key) == host_of(server)), None)
    if not isinstance(entry, dict):
        return {}
    auth: dict[str, str] = {"serveraddress": server}
    auth.update({key: entry[key] for key in _FIELDS if entry.get(key) and isinstance(entry[key], str)})
    if entry.get("auth"):
        try:
            name, colon, password = a2b_base64(entry["auth"], strict_mode=True).decode().partition(":")
            if not colon:
                raise ValueError
        except (ValueError, TypeError):
            raise CliError(
                f"invalid auth configuration file: the credentials of {server} cannot be decoded", hint="log in again"
            ) from None
        auth["username"], auth["password"] = name, password.rstrip("\0")
    if entry.get("identitytoken"):
        auth.pop("password", None)
    return auth if len(auth) > 1 else {}


def _entries(config: dict[str, Any]) -> dict[str, Any]:
    entries = config.setdefault("auths", {}) or {}
    if not isinstance(entries, dict):
        raise CliError("auths in config.json is no JSON object", hint="correct it, or remove it")
    return entries


def _from_helper(helper: str, server: str) -> dict[str, str]:
    output, failed = _call_helper(helper, "get", server.encode())
    if failed:
        if _NOT_FOUND in output:
            return {}
        raise CliError(f"error getting credentials - err: exit status {failed}, out: `{_shown(output)}`")
    try:
        answer = json_text.loads(output)
        name, secret = answer.get("Username", ""), answer.get("Secret", "")
        if not isinstance(name, str) or not isinstance(secret, str):
            raise TypeError
    except (ValueError, TypeError, AttributeError):
        # what it printed may hold the secret
        raise CliError(
            f"error getting credentials - docker-credential-{helper} gave no credentials that can be read",
            hint=f"see what `echo {server} | docker-credential-{helper} get` prints",
        ) from None
    if name == _TOKEN_USER:
        return {"serveraddress": server, "identitytoken": secret}
    return {"serveraddress": server, "username": name, "password": secret}


def _call_helper(helper: str, verb: str, data: bytes) -> tuple[str, int]:
    """What the helper printed, and its exit status. Raises CliError when it cannot be run."""
    import subprocess

    program = f"docker-credential-{helper}"
    if "/" in helper:
        raise CliError(f"invalid name of a credential helper in config.json: {helper}")
    try:
        done = subprocess.run(
            [program, verb], input=data, stdout=subprocess.PIPE, check=False, timeout=_HELPER_TIMEOUT_S
        )
    except FileNotFoundError:
        raise CliError(
            f'error getting credentials - err: exec: "{program}": executable file not found in $PATH, out: ``',
            hint="install it, or remove credsStore and credHelpers from config.json",
        ) from None
    except OSError as error:
        text = (error.strerror or "cannot be run").lower()
        raise CliError(f'error getting credentials - err: exec: "{program}": {text}, out: ``') from None
    except subprocess.TimeoutExpired:
        raise CliError(f"{program} did not answer within {_HELPER_TIMEOUT_S} s") from None
    return done.stdout.decode("utf-8", "replace").strip(), done.returncode


def _shown(output: str) -> str:
    return "".join(c if c.isprintable() else " " for c in output[:500])


def store_credentials(server: str, auth: dict[str, str]) -> str:
    """Remember a login; returns where: the name of a helper, "" for config.json."""
    config = read_config()
    helper = _helper_for(config, server)
    entries = config["auths"] = _entries(config)
    if helper:
        token = auth.get("identitytoken")
        record = {
            "ServerURL": server,
            "Username": _TOKEN_USER if token else auth.get("username", ""),
            "Secret": token or auth.get("password", ""),
        }
        output, failed = _call_helper(helper, "store", json_text.dumps(record))
        if failed:
            raise CliError(f"error saving credentials: {_shown(output)}")
        entries[server] = {}
    else:
        pair = f"{auth.get('username', '')}:{'' if auth.get('identitytoken') else auth.get('password', '')}"
        entries[server] = {"auth": _base64(pair.encode())}
        if auth.get("identitytoken"):
            entries[server]["identitytoken"] = auth["identitytoken"]
    write_config(config)
    return helper


def erase_credentials(server: str) -> None:
    """Forget a login. Raises CliError when a helper does not, after config.json is rid of it."""
    config = read_config()
    entries = _entries(config)
    keys = [key for key in entries if key == server or host_of(key) == host_of(server)]
    for key in keys:
        del entries[key]
    if keys:
        write_config(config)
    helper = _helper_for(config, server)
    if helper:
        output, failed = _call_helper(helper, "erase", server.encode())
        if failed and _NOT_FOUND not in output:
            raise CliError(f"{server}: error erasing credentials - err: exit status {failed}, out: `{_shown(output)}`")
