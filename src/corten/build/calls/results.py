"""The answer of a subrequest as its clients get it: `result.json`, and `result.txt` for people. Pure; daemon.

The JSON is indented and escaped as Go's encoder does; the columns of the text are those of buildx.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from corten.build.calls.outline import outline_of
from corten.build.calls.targets import targets_of
from corten.build.dockerfile.stages import BuildRequest, Dockerfile
from corten.spec.docker.subrequests import VERSION, Outline, OutlineMount, Targets

CALLS = ("outline", "targets")
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def answer(call: str, dockerfile: Dockerfile, request: BuildRequest, source: bytes) -> Mapping[str, str]:
    """The answer to one of CALLS. Raises DockerfileError."""
    document: Outline | Targets
    if call == "outline":
        document = outline_of(dockerfile, request, source)
        text = outline_text(document)
    else:
        document = targets_of(dockerfile, source)
        text = targets_text(document)
    return {"result.json": document_text(document), "result.txt": text, "version": VERSION}


def document_text(document: msgspec.Struct) -> str:
    """The document as JSON."""
    text = json.dumps(msgspec.to_builtins(document), indent=2, ensure_ascii=False)
    for character, escaped in _HTML.items():
        text = text.replace(character, escaped)
    return text


def outline_text(outline: Outline) -> str:
    """An outline as tables, those that are empty left out."""
    text = ""
    if outline.name or outline.description:
        head = [("TARGET:", outline.name or "(default)")]
        if outline.description:
            head.append(("DESCRIPTION:", outline.description))
        text += _table(head, 1)
    if outline.args:
        args = [(arg.name, arg.value, arg.description) for arg in outline.args]
        text += _table([("BUILD ARG", "VALUE", "DESCRIPTION"), *args], 3)
    for kind, mounts in (("SECRET", outline.secrets), ("SSH", outline.ssh)):
        if mounts:
            text += _table([(kind, "REQUIRED"), *_mounts(mounts)], 3)
    if outline.cache:
        text += _table([("CACHE MOUNT",), *((cache.id,) for cache in outline.cache)], 3)
    return text


def targets_text(targets: Targets) -> str:
    """The list of targets."""
    rows = [("TARGET", "DESCRIPTION")]
    for target in targets.targets:
        name = target.name
        if target.default:
            name = f"{name} (default)".lstrip()
        rows.append((name, target.description))
    return _table(rows, 1).removesuffix("\n")


def _mounts(mounts: Sequence[OutlineMount]) -> list[tuple[str, str]]:
    return [(mount.name, "true" if mount.required else "") for mount in mounts]


def _table(rows: Sequence[Sequence[str]], gap: int) -> str:
    """Columns as wide as their widest cell, an empty line behind them. A cell is one line, whatever is in it."""
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) + gap for column in range(len(cells[0]) - 1)]
    lines = ["".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)) for row in cells]
    return "\n".join(lines) + "\n\n"
