"""Which attestations a client asks for, in the words of `--provenance`, `--sbom` and `--attest`. Pure; daemon.

The words are buildx's; over the API they come as BuildKit's frontend options have them: `provenance` and `sbom`, each
with the rest of its CSV (`mode=max,builder-id=x`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corten.errors import InvalidArgument

_TRUE = ("", "true", "1")
_FALSE = ("false", "0")
_MODES = ("min", "max")
_VERSIONS = {"": "v1", "v1": "v1", "v0.2": "v0.2"}
_LENGTH_LIMIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceWish:
    """How much provenance tells, in which version of SLSA's form. `builder_id` and `reproducible` are what the client
    says itself."""

    mode: str = "min"
    version: str = "v1"
    builder_id: str = ""
    reproducible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attests:
    """What is asked for; nothing by default."""

    provenance: ProvenanceWish | None = None
    sbom: bool = False

    @property
    def any(self) -> bool:
        """Whether anything is."""
        return self.provenance is not None or self.sbom


UNSAID = Attests()


def parse_attests(entries: Mapping[str, str | None]) -> Attests:
    """From the attestation's type to its words. Raises InvalidArgument."""
    unknown = sorted(set(entries) - {"provenance", "sbom"})
    if unknown:
        raise InvalidArgument(f"attestation type {unknown[0][:32]!r} is not supported: it may be provenance or sbom")
    provenance, sbom = entries.get("provenance", "false"), entries.get("sbom", "false")
    return Attests(provenance=_provenance(_fields(provenance)), sbom=_sbom(_fields(sbom)))


def _fields(text: str | None) -> dict[str, str]:
    """`disabled=` among them says no; a single word is true, false or a mode."""
    if len(text or "") > _LENGTH_LIMIT:
        raise InvalidArgument("the words of an attestation are too long")
    fields: dict[str, str] = {}
    for field in (text or "").split(","):
        name, equals, value = field.strip().partition("=")
        if not equals and name.lower() in _FALSE:
            name, value = "disabled", "true"
        elif not equals and name in _MODES:
            name, value = "mode", name
        elif not equals and name.lower() in _TRUE:
            continue
        if name:
            fields[name] = value
    return fields


def _taken(fields: dict[str, str], name: str) -> bool:
    value = fields.pop(name, None)
    if value is None:
        return False
    if value.lower() not in _TRUE + _FALSE:
        raise InvalidArgument(f"non-bool value {value[:32]!r} specified for {name}")
    return value.lower() in _TRUE


def _provenance(fields: dict[str, str]) -> ProvenanceWish | None:
    if _taken(fields, "disabled"):
        return None
    mode, version = fields.pop("mode", "min"), fields.pop("version", "")
    if mode not in _MODES:
        raise InvalidArgument(f"invalid mode {mode[:32]!r} of provenance: it may be min or max")
    if version not in _VERSIONS:
        raise InvalidArgument(f"invalid version {version[:32]!r} of provenance: it may be v1 or v0.2")
    reproducible, builder = _taken(fields, "reproducible"), fields.pop("builder-id", "")
    _taken(fields, "inline-only")
    _no_others("provenance", fields)
    return ProvenanceWish(mode=mode, version=_VERSIONS[version], builder_id=builder, reproducible=reproducible)


def _sbom(fields: dict[str, str]) -> bool:
    if _taken(fields, "disabled"):
        return False
    if fields.pop("generator", ""):
        raise InvalidArgument("sbom: another generator is not supported: the engine reads the packages itself")
    _no_others("sbom", fields)
    return True


def _no_others(what: str, fields: Mapping[str, str]) -> None:
    if fields:
        raise InvalidArgument(f"{what}: not supported: {', '.join(sorted(fields))[:128]}")
