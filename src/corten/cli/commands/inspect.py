"""`corten inspect` and the `inspect` of each kind of object."""

from __future__ import annotations

import sys

from corten.cli.command import Call, Command
from corten.cli.errors import CliError, ExitStatus
from corten.cli.go_structs import omitted_field, with_go_zeros
from corten.cli.option import Option
from corten.cli.platform import platform_json
from corten.cli.template.evaluate import execute
from corten.cli.template.lexer import TemplateError
from corten.cli.template.parser import Template, parse
from corten.cli.template.printing import go_json
from corten.client.errors import ApiError
from corten.client.query import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corten.client.api import Client

_PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
_OWN_PATHS = {"service": "/corten/services/{}"}  # of what Docker's client does not look for
_QUERIES = {"container": ("size",), "image": ("platform",), "network": ("verbose",)}


def _fetch(client: Client, kind: str, name: str, values: Any) -> Any:
    query: dict[str, object] = {}
    for option in _QUERIES.get(kind, ()):
        query[option] = values[option] if values.knows(option) else None
    if query.get("platform"):
        query["platform"] = platform_json(str(query["platform"]))
    safe = {"image": "/:@", "service": "/"}.get(kind, "")
    path = _PATHS.get(kind) or _OWN_PATHS[kind]
    return client.call("GET", path.format(quote(name, safe)), query=query)


def _inspect_any(call: Call) -> None:
    kind = call.values["type"]
    if call.values.given("type") and kind not in _PATHS:
        raise CliError(
            f'unknown type: "{kind}": must be one of "config", "container", "image", "network", '
            '"node", "plugin", "secret", "service", "task", "volume"'
        )
    if call.values["size"] and kind not in ("", "container"):
        sys.stderr.write(f"WARNING: --size ignored for {kind}s\n")

    def find(name: str) -> Any:
        for candidate in (kind,) if kind else _PATHS:
            try:
                return _fetch(call.client, candidate, name, call.values)
            except ApiError as error:
                if error.status != 404:
                    raise
                last = error
        if kind:
            raise last
        raise CliError(f"Error: No such object: {name}")

    show_objects(call, find)


def _inspect_kind(kind: str) -> Callable[[Call], None]:
    def run(call: Call) -> None:
        show_objects(call, lambda name: _fetch(call.client, kind, name, call.values))

    return run


def show_objects(call: Call, find: Callable[[str], Any]) -> None:
    """Print each object by the template or as one JSON list; failures are told after it."""
    template = _template(call.values["format"])
    failures: list[str] = []
    found: list[Any] = []
    for name in call.arguments:
        try:
            found.append(find(name))
        except ApiError as error:
            failures.append(f"Error response from daemon: {error.message}")
        except CliError as error:
            failures.append(error.message)
    if call.values["format"] == "json":
        sys.stdout.write(go_json(found) + "\n")
    elif template is None:
        import json

        sorts = call.name.endswith("volume inspect")
        sys.stdout.write(json.dumps(found, indent=4, ensure_ascii=False, sort_keys=sorts) + "\n")
    else:
        _show_by_template(template, found, failures)
    sys.stdout.flush()
    if failures:
        sys.stderr.write("\n".join(failures) + "\n")
        raise ExitStatus(1)


def _template(form: str) -> Template | None:
    if not form:
        return None
    try:
        return parse("{{json .}}" if form == "json" else form)
    except TemplateError as error:
        raise CliError(f"template parsing error: {error.message}", status=64) from None


def _show_by_template(template: Template, found: list[Any], failures: list[str]) -> None:
    for item in found:
        try:
            text = execute(template, with_go_zeros(item), missing=omitted_field)
        except TemplateError as error:
            failures.append(f"template parsing error: {error.message}")
            sys.stdout.write("\n")
            break
        sys.stdout.write(f"{text}\n")
    if not found:
        sys.stdout.write("\n")


_FORMAT = Option("-f, --format", "string", "Format the output: 'json', or a Go template")
_SIZE = Option("-s, --size", "bool", "Show sizes too, when it is a container")
_OPTIONS: dict[str, tuple[Option, ...]] = {
    "container": (_FORMAT, _SIZE),
    "image": (_FORMAT, Option("--platform", "string", "Show this platform of the image")),
    "network": (_FORMAT, Option("-v, --verbose", "bool", "Show more, for diagnosis")),
    "service": (_FORMAT,),
    "volume": (_FORMAT,),
    "": (_FORMAT, _SIZE, Option("--type", "string", "Look for this type of object only")),
}
COMMAND = Command("[OPTIONS] NAME|ID [NAME|ID...]", _inspect_any, _OPTIONS[""], least=1, most=None)
CONTAINER = Command(
    "[OPTIONS] CONTAINER [CONTAINER...]", _inspect_kind("container"), _OPTIONS["container"], least=1, most=None
)
IMAGE = Command("[OPTIONS] IMAGE [IMAGE...]", _inspect_kind("image"), _OPTIONS["image"], least=1, most=None)
NETWORK = Command("[OPTIONS] NETWORK [NETWORK...]", _inspect_kind("network"), _OPTIONS["network"], least=1, most=None)
SERVICE = Command("[OPTIONS] SERVICE [SERVICE...]", _inspect_kind("service"), _OPTIONS["service"], least=1, most=None)
VOLUME = Command("[OPTIONS] VOLUME [VOLUME...]", _inspect_kind("volume"), _OPTIONS["volume"], least=1, most=None)
