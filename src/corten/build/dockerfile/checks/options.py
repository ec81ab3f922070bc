"""`# check=skip=<rules>;error=true;experimental=<rules>`: which rules count, and how much. Pure; daemon."""

from __future__ import annotations

from dataclasses import dataclass

from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.words import quoted

_BOOLEANS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """Rules by name in lower case; `all` stands for every one. `is_error`: what is found fails the build."""

    skipped: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    is_error: bool = False

    def wants(self, name: str, *, is_experimental: bool) -> bool:
        """Whether a rule counts."""
        asked = not is_experimental or bool(self.experimental & {"all", name.lower()})
        return asked and not self.skipped & {"all", name.lower()}


def parse_check_options(text: str) -> CheckOptions:
    """The options in `text`. Raises DockerfileError."""
    options = CheckOptions()
    for part in text.split(";") if text.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        names = frozenset(name.strip().lower() for name in value.split(",") if name.strip())
        if not equals or key not in ("skip", "experimental", "error"):
            raise DockerfileError(f"invalid check option {quoted(part)}")
        if key == "error":
            if value.lower() not in _BOOLEANS:
                raise DockerfileError(f"failed to parse check option {quoted(part)}")
            options = CheckOptions(
                skipped=options.skipped, experimental=options.experimental, is_error=_BOOLEANS[value.lower()]
            )
        else:
            options = CheckOptions(
                skipped=names if key == "skip" else options.skipped,
                experimental=names if key == "experimental" else options.experimental,
                is_error=options.is_error,
            )
    return options
