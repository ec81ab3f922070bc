"""`--cache-from` and `--cache-to`: a build's caches, in buildx's words, as the engine takes them."""

from __future__ import annotations

import os

from corten.cli.create.csv_fields import split_fields
from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_caches(texts: Sequence[str], flag: str) -> list[dict[str, object]]:
    """What all the flags say, as `{"Type", "Attrs"}`. Raises CliError."""
    return [_parse(text, flag) for text in texts]


def _parse(text: str, flag: str) -> dict[str, object]:
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
