"""`corten.build`: a build from Python, by the way of `corten build`, without its words. In the caller's process."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from corten.cli.build.call import Called
from corten.cli.build.told import BuildError, Told, all_metadata
from corten.cli.commands import build as command
from corten.cli.engine import client_for
from corten.cli.option import parse
from corten.client.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Path = str | os.PathLike[str]
    OnProgress = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What a build gave: the image's id, its digest (both `sha256:<hex>`, empty when no image was stored), what
    `--metadata-file` holds, and what the checks found, a sentence each."""

    image_id: str
    digest: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def build(
    path: Path = ".",
    *,
    tag: str | Sequence[str] = (),
    dockerfile: Path | None = None,
    buildargs: Mapping[str, str] | None = None,
    target: str = "",
    secrets: Mapping[str, bytes | Path] | None = None,
    outputs: str | Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    platform: str = "",
    network: str = "",
    no_cache: bool = False,
    pull: bool = False,
    flags: Sequence[str] = (),
    host: str = "",
    on_progress: OnProgress | None = None,
) -> BuildResult:
    """Build the Dockerfile of a directory, and wait for it.

    `path` is the build context; `dockerfile` is a path of its own, by default the context's `Dockerfile`. `tag` are
    names of the image. `secrets` are values as bytes, or files, by the id that `RUN --mount=type=secret` asks for.
    `outputs` are `-o` of the command line; so are further `flags` (`["--add-host", "db:10.0.0.2"]`). `host` is the
    engine's address, by default that of `corten`. `on_progress` is called with each status message, in BuildKit's form
    (`vertexes`, `statuses`, `logs`, `warnings`), in this thread.

    Raises BuildError with the lines that are to blame, EngineUnreachable, ConnectionBroken, CliError for flags that
    make no sense.
    """
    named = {
        "--tag": [tag] if isinstance(tag, str) else list(tag),
        "--file": [] if dockerfile is None else [os.fspath(dockerfile)],
        "--build-arg": _pairs(buildargs),
        "--label": _pairs(labels),
        "--target": [target] if target else [],
        "--output": [outputs] if isinstance(outputs, str) else list(outputs),
        "--platform": [platform] if platform else [],
        "--network": [network] if network else [],
        "--no-cache": ["true"] if no_cache else [],
        "--pull": ["true"] if pull else [],
    }
    arguments = [f"{name}={value}" for name, values in named.items() for value in values if value]
    with ExitStack() as closing:
        arguments += [f"--secret={_secret(name, value, closing)}" for name, value in (secrets or {}).items()]
        values, rest, _ = parse(command.COMMAND.options, [*arguments, *flags])
        if rest:
            raise BuildError(f"{rest[0]!r} is no flag")
        told = Told(os.path.basename(values["file"] or "") or "Dockerfile")
        client = client_for({"host": [host] if host else []})
        closing.callback(client.close)
        try:
            command.carry_out(client, values, os.fspath(path), Called(""), told, _Shown(on_progress))
        except ApiError as error:
            raise BuildError(error.message) from error
        metadata = all_metadata(told, values["tag"])
    return BuildResult(
        image_id=told.image_id,
        digest=str(metadata.get("containerimage.digest", "")),
        metadata=metadata,
        warnings=(*told.notes, *(str(found["detail"]) for found in told.lint.get("warnings") or ())),
    )


class _Shown:
    """Where status messages go: to the caller's function."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress

    def update(self, status: Mapping[str, Any]) -> None:
        """Pass one on."""
        if self._on_progress is not None:
            self._on_progress(status)


def _pairs(values: Mapping[str, str] | None) -> list[str]:
    return [f"{name}={value}" for name, value in (values or {}).items()]


def _secret(name: str, value: bytes | Path, closing: ExitStack) -> str:
    """`--secret`'s value. Bytes are in a file without a name, in memory, as long as the build (memfd_create(2))."""
    path: Path
    if isinstance(value, bytes):
        fd = os.memfd_create("secret", os.MFD_CLOEXEC)
        file = closing.enter_context(os.fdopen(fd, "wb"))
        file.write(value)
        file.flush()
        path = f"/proc/{os.getpid()}/fd/{fd}"
    else:
        path = os.path.abspath(os.fspath(value))
    return ",".join(_quoted(field) for field in (f"id={name}", f"src={os.fspath(path)}"))


def _quoted(text: str) -> str:
    """One field of a line of CSV."""
    return '"' + text.replace('"', '""') + '"' if any(character in text for character in ',"\n') else text
