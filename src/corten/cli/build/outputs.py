"""`--output`, `--push`, `--load` and `--annotation`: where a build's results go, in buildx's words.

What the engine does is told to it as Docker's `outputs` (type and attributes); what comes to this machine is written by
`written`.
"""

from __future__ import annotations

import os

from corten.cli.errors import CliError
from corten.client import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TYPES = ("local", "tar", "oci", "docker", "image", "registry", "cacheonly")
_ARCHIVES = ("oci", "docker")
_ANNOTATED = ("image", "registry", "oci", "docker")
_WHAT = "write the output"
_ANNOTATION = r"(?:(?P<levels>[a-z-]+(?:\[[^\]]*\])?(?:,[a-z-]+(?:\[[^\]]*\])?)*):)?(?P<key>[^\s=]+)\Z"
_LEVELS = ("manifest", "index", "manifest-descriptor", "index-descriptor")


class Output:
    """One result: `attributes` are the engine's, `dest` is - for standard output and empty where nothing comes here.
    `is_tree`: a layout in a directory, not in a tar."""

    __slots__ = ("attributes", "dest", "is_tree", "type")

    def __init__(self, type_: str, attributes: dict[str, str], dest: str = "", *, is_tree: bool = False) -> None:
        self.type = type_
        self.attributes = attributes
        self.dest = dest
        self.is_tree = is_tree

    @property
    def is_stdout(self) -> bool:
        """Whether the result goes to standard output, where nothing else may be then."""
        return self.dest == "-"

    def check(self) -> None:
        """Raise CliError when the result cannot go there: before a build that would be for nothing."""
        from corten.cli.output_file import check_output

        if self.type == "local" or self.is_tree:
            if os.path.lexists(self.dest) and not os.path.isdir(self.dest):
                raise CliError(f"destination directory {self.dest} is a file")
        elif self.dest:
            check_output("" if self.is_stdout else self.dest, _WHAT)

    def write(self, pieces: Iterator[bytes]) -> None:
        """Take the tar. Raises CliError."""
        from corten.cli.build.written import write_directory, write_file, write_layout

        if self.type == "local":
            write_directory(pieces, self.dest)
        elif self.is_tree:
            write_layout(pieces, self.dest, keeps_docker=self.type == "docker")
        else:
            write_file(pieces, "" if self.is_stdout else self.dest, _WHAT)


class Outputs:
    """All results of a build."""

    def __init__(self, entries: Sequence[Output]) -> None:
        self.entries = entries

    @property
    def is_stdout(self) -> bool:
        """Whether one goes to standard output."""
        return any(entry.is_stdout for entry in self.entries)

    def check(self) -> None:
        """Raise CliError for what cannot go where it shall."""
        if sum(entry.is_stdout for entry in self.entries) > 1:
            raise CliError("only one output can go to standard output")
        for entry in self.entries:
            entry.check()

    def query(self) -> str:
        """Docker's parameter `outputs`."""
        return json_text.dumps([{"Type": entry.type, "Attrs": entry.attributes} for entry in self.entries]).decode()


def parse_outputs(
    texts: Sequence[str], *, push: bool = False, load: bool = False, annotations: Sequence[str] = ()
) -> Outputs:
    """What all these options say; an image of the engine without any. Raises CliError."""
    entries = [_parse(text) for text in texts]
    if not entries:
        entries = [Output("image", {})]
    if push:
        for entry in entries:
            if entry.type not in ("image", "registry"):
                raise CliError(f'push and "{entry.type}" output can\'t be used together')
            entry.attributes["push"] = "true"
    if load and not any(entry.type == "image" for entry in entries):
        entries.append(Output("image", {}))
    found = _annotations(annotations)
    if found:
        takers = [entry for entry in entries if entry.type in _ANNOTATED]
        if not takers:
            raise CliError("annotations go to images and layouts only: give an output of such a type")
        for entry in takers:
            entry.attributes = {**found, **entry.attributes}
    return Outputs(entries)


def _annotations(texts: Sequence[str]) -> dict[str, str]:
    """`[LEVEL[PLATFORM][,LEVEL]:]KEY=VALUE` as an exporter's attributes."""
    if not texts:
        return {}
    import re

    found: dict[str, str] = {}
    for text in texts:
        head, equals, value = text.partition("=")
        match = re.match(_ANNOTATION, head)
        if not equals or match is None:
            raise CliError(f'invalid annotation "{text}": expected key=value')
        for level in (match["levels"] or "manifest").split(","):
            if level.partition("[")[0] not in _LEVELS:
                raise CliError(f'unknown annotation type "{level}": it may be {", ".join(_LEVELS)}')
            found[f"annotation-{level}.{match['key']}"] = value
    return found


def _parse(text: str) -> Output:
    if text == "-":
        return Output("tar", {}, "-")
    from corten.cli.create.csv_fields import split_fields

    try:
        fields = split_fields(text)
    except ValueError as error:
        raise CliError(f"invalid output {text!r}: {error}") from None
    if len(fields) == 1 and "=" not in text:
        if not text:
            raise CliError("invalid output: a directory or type=... is needed")
        return Output("local", {}, text)
    values: dict[str, str] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals:
            raise CliError(f"invalid value {field}")
        name = name.strip()
        values[name if name.startswith("annotation") else name.lower()] = value
    return _made(values)


def _made(values: dict[str, str]) -> Output:
    kind = values.pop("type", "")
    dest = values.pop("dest", "")
    if not kind:
        raise CliError("type is required for output")
    if kind not in TYPES:
        raise CliError(f"output type {kind!r} is not supported: it may be {', '.join(TYPES)}")
    is_tree = kind in _ARCHIVES and values.pop("tar", "true").lower() in ("false", "0")
    if kind in ("image", "registry", "cacheonly") and dest:
        raise CliError(f"output {kind}: not supported: dest")
    if (kind == "local" or is_tree) and dest in ("", "-"):
        raise CliError(f"dest is required for {'an unpacked ' * is_tree}{kind} output")
    if kind == "docker" and not dest:
        kind = "image"  # what is loaded into Docker by buildx is built in the engine here
    return Output(kind, values, dest or ("-" if kind in ("tar", "oci") else ""), is_tree=is_tree)
