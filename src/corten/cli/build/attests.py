"""`--provenance`, `--sbom` and `--attest`: what shall be said of an image, as the engine's parameter `attests`."""

from __future__ import annotations

from corten.cli.errors import CliError
from corten.client import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TYPES = ("provenance", "sbom")
_TRUE = ("1", "t", "true")
_FALSE = ("0", "f", "false")


def attests_query(attests: Sequence[str], provenance: str | None, sbom: str | None) -> str:
    """The parameter; empty when nothing is asked for. A type's own option counts more. Raises CliError."""
    found: dict[str, str] = {}
    for text in attests:
        fields = [field.strip() for field in _split(text)]
        kind = next((field[5:] for field in fields if field.startswith("type=")), "")
        if kind not in _TYPES:
            raise CliError(f'invalid attestation "{text}": type=provenance or type=sbom is needed')
        if kind in found:
            raise CliError(f"duplicate attestation field {kind}")
        found[kind] = ",".join(field for field in fields if not field.startswith("type="))
    for kind, said in (("provenance", provenance), ("sbom", sbom)):
        if said:
            found[kind] = _words(said)
    return json_text.dumps(found).decode() if found else ""


def _words(text: str) -> str:
    """`true` and `false` as --attest says them."""
    if text.lower() in _TRUE:
        return ""
    return "disabled=true" if text.lower() in _FALSE else text


def _split(text: str) -> list[str]:
    from corten.cli.create.csv_fields import split_fields

    try:
        return split_fields(text)
    except ValueError as error:
        raise CliError(f"invalid attestation {text!r}: {error}") from None
