"""What the engine says while it builds: shown where it is progress, and kept where it is a result."""

from __future__ import annotations

from corten.cli.errors import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol

    class Shown(Protocol):
        """Where status messages go."""

        def update(self, status: Mapping[str, Any]) -> None:
            """Take one."""


class BuildError(CliError):
    """A build that the engine gave up. `excerpt` shows the lines of the Dockerfile that are to blame, `lines` are the
    first and the last of them (from 1), (0, 0) when it is none of them."""

    code = "build-failed"

    def __init__(self, message: str, *, lines: tuple[int, int] = (0, 0), excerpt: str = "") -> None:
        super().__init__(message)
        self.lines = lines
        self.excerpt = excerpt


class Told:
    """One build's answers. `dockerfile` is what the user calls the file; `open_shell` is what is done with the
    container in which a failed step can be looked at, by its id."""

    def __init__(self, dockerfile: str, open_shell: Callable[[str], None] | None = None) -> None:
        self.dockerfile = dockerfile
        self.image_id = ""
        self.lint: dict[str, Any] = {}
        self.answer: dict[str, str] = {}
        self.metadata: dict[str, Any] = {}
        self.excerpt = ""
        self.notes: list[str] = []
        self._lines = (0, 0)
        self._open_shell = open_shell

    @property
    def wants_shell(self) -> bool:
        """Whether the engine shall keep a step that fails."""
        return self._open_shell is not None

    def take_all(self, messages: Iterable[dict[str, Any]], shown: Shown) -> None:
        """Take messages to their end. Raises BuildError for the error that one carries."""
        for message in messages:
            failure = message.get("errorDetail")
            if failure:
                text = str(failure.get("message") or "the build failed")
                raise BuildError(text, lines=self._lines, excerpt=self.excerpt)
            aux = message.get("aux")
            if isinstance(aux, dict):
                self._take(aux, shown)

    def _take(self, aux: dict[str, Any], shown: Shown) -> None:
        status = aux.get("Status")
        if status:
            for warning in status.get("warnings") or ():
                if not warning.get("vertex"):
                    self.notes.append(_text_of(warning.get("short")))
            shown.update(status)
        self.image_id = str(aux.get("ID") or self.image_id)
        self.answer = aux.get("Call") or self.answer
        self.metadata.update(aux.get("Metadata") or {})
        results = aux.get("Lint") or {}
        error = results.get("buildError")
        if error:
            from corten.cli.build import findings

            location = error.get("location")
            self.excerpt = findings.where(results, location, self.dockerfile)
            ranges = (location or {}).get("ranges") or []
            if ranges:
                self._lines = (int(ranges[0]["start"]["line"]), int(ranges[0]["end"]["line"]))
        elif results:
            self.lint = results
        if aux.get("Shell") and self._open_shell is not None:
            self._open_shell(str(aux["Shell"]["Container"]))


def _text_of(data: str | None) -> str:
    from corten.cli.build.progress.trace import text_of

    return text_of(data)


def all_metadata(told: Told, names: Iterable[str]) -> dict[str, Any]:
    """What --metadata-file holds, sorted by name."""
    found: dict[str, Any] = {}
    if told.image_id:
        found = {"containerimage.config.digest": told.image_id, "containerimage.digest": told.image_id}
    full = ",".join(_full_name(name) for name in names)
    if full:
        found["image.name"] = full
    return dict(sorted({**found, **told.metadata}.items()))


def _full_name(text: str) -> str:
    from corten.cli.image_name import split_domain, split_reference

    name, tag, digest = split_reference(text)
    domain, path = split_domain(name)
    return f"{domain}/{path}:{tag or 'latest'}" + (f"@{digest}" if digest else "")


def check_tag(text: str) -> None:
    """Raise CliError with buildx's words for what cannot be a name."""
    from corten.cli.image_name import check_reference

    try:
        check_reference(text)
    except CliError as error:
        reason = "repository name must be lowercase" if "lowercase" in error.message else error.message
        raise CliError(f'invalid tag "{text}": {reason}') from None
