"""`--cache-from` and `--cache-to`: a build's caches, in buildx's words, as the engine takes them."""

from __future__ import annotations

import os

from corten.cli.errors import CliError
from corten.client import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def parse_caches(texts: Sequence[str], flag: str) -> list[dict[str, object]]:
    """What all the flags say, as `{"Type", "Attrs"}`. Raises CliError."""
    return [_parse(text, flag) for text in texts]


def _parse(text: str, flag: str) -> dict[str, object]:
    from corten.cli.create.csv_fields import split_fields

    try:
        fields = split_fields(text)
    except ValueError as error:
        raise CliError(f"invalid value {text!r} for {flag}: {error}") from None
    if len(fields) == 1 and "=" not in text:
        if not text:
            raise CliError(f"{flag} needs a name or type=...")
        return {"Type": "registry", "Attrs": {"ref": text}}
    attributes: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise CliError(f"invalid value {field} for {flag}")
        attributes[name.strip().lower()] = value
    kind = attributes.pop("type", "")
    if not kind:
        raise CliError(f"type is required for {flag}")
    for name in ("src", "dest"):
        if attributes.get(name):
            attributes[name] = os.path.abspath(attributes[name])
    return {"Type": kind, "Attrs": attributes}


def cache_directories(query: Mapping[str, object]) -> dict[str, int]:
    """Descriptors of the directories that hold caches, by `cache:` and their paths; those for new ones are made, one
    that is missing is left out. Raises CliError."""
    found: dict[str, int] = {}
    for name, attribute in (("cachefrom", "src"), ("cacheto", "dest")):
        for cache in json_text.loads(str(query.get(name) or "[]")):
            path = cache["Attrs"].get(attribute, "")
            if cache["Type"] != "local" or not path:
                continue
            try:
                if attribute == "dest":
                    os.makedirs(path, exist_ok=True)
                found.setdefault(f"cache:{path}", os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            except OSError as error:
                if attribute == "dest":
                    raise CliError(f"cache directory {path}: {(error.strerror or '').lower()}") from None
    return found
