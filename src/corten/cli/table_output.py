"""Lists as tables or through a --format template, with the columns and the spacing of Docker's client.

Columns are data: a name as templates use it, its heading, and a function of the listed object. Spacing follows Go's
text/tabwriter: cells padded by three, ten wide at least.
"""

from __future__ import annotations

import sys

from corten.cli.errors import CliError
from corten.cli.template.evaluate import Fields, execute
from corten.cli.template.lexer import TemplateError
from corten.cli.template.parser import Template, parse
from corten.cli.template.printing import html_safe_json, json_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TextIO

    Column = tuple[str, Callable[[Any], str | None]]  # heading, text of one object

_MIN_WIDTH, _PADDING = 10, 3
FORMAT_HELP = "Format the output: 'table', 'table TEMPLATE', 'json', or a Go template"


class Row(Fields):
    """One object seen through columns; `.Label "name"` is a function."""

    def __init__(self, item: Any, columns: Mapping[str, Column], type_name: str) -> None:
        self._item = item
        self._columns = columns
        self.type_name = type_name

    def get(self, name: str) -> Any:
        """The text of a column."""
        if name == "Label" and "Labels" in self._columns:
            return lambda key: (self._item.get("Labels") or {}).get(key, "")
        return self._columns[name][1](self._item)

    def json(self) -> str:
        """All columns, as `{{json .}}` prints them."""
        fields = (f"{json_string(name)}:{html_safe_json(self.get(name))}" for name in sorted(self._columns))
        return "{" + ",".join(fields) + "}"


class _Headings(Fields):
    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = columns

    def get(self, name: str) -> Any:
        if name == "Label":
            return lambda key: key.split(".")[-1].replace("-", " ").replace("_", " ")
        return self._columns[name][0] if name in self._columns else None


def _same(value: Any, *_: Any) -> Any:
    return value


# On the heading, functions must not do what they do to values.
_HEADING_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "json": _same,
    "title": _same,
    "lower": _same,
    "upper": _same,
    "truncate": _same,
    "pad": _same,
    "split": lambda value, _: [value],
    "join": lambda value, separator: separator.join(value) if isinstance(value, list) else value,
}


class ListFormat:
    """How a list is shown: `text` is what --format says (or what stands for it), `table` the default's template."""

    def __init__(self, text: str, *, table: str, quiet: str = "", is_quiet: bool = False) -> None:
        text = text.strip(" ")
        if text in ("", "table"):
            text = quiet if is_quiet else f"table {table}"
        elif text == "json":
            text = "{{json .}}"
        self.is_table = text.startswith("table")
        body = text.removeprefix("table").strip(" ") if self.is_table else text
        self.source = body.replace("\\t", "\t").replace("\\n", "\n")

    def parse(self, problem: str = "template parsing error") -> Template:
        """Raises CliError, which begins with `problem`."""
        try:
            return parse(self.source)
        except TemplateError as error:
            raise CliError(f"{problem}: {error.message}", status=1) from None


def write_list(
    items: Iterable[Any],
    columns: Mapping[str, Column],
    form: ListFormat,
    *,
    type_name: str,
    out: TextIO | None = None,
) -> None:
    """Write the list; raises CliError when the template cannot be executed."""
    out = out or sys.stdout
    template = form.parse()
    functions = {"json": _json}
    lines: list[str] = []
    try:
        if form.is_table:
            lines.append(execute(template, _Headings(columns), functions=_HEADING_FUNCTIONS))
        lines += [execute(template, Row(item, columns, type_name), functions=functions) for item in items]
    except TemplateError as error:
        raise CliError(f"failed to execute template: {error.message}") from None
    out.write("".join(f"{line}\n" for line in (align(lines) if form.is_table else lines)))


def _json(value: Any) -> str:
    from corten.cli.template.printing import go_json

    return value.json() if isinstance(value, Row) else go_json(value)


def align(lines: list[str], *, min_width: int = _MIN_WIDTH, padding: int = _PADDING) -> list[str]:
    """Replace tabs by spaces so that cells stand below each other; the last cell of a line is not padded."""
    rows = [part.split("\t") for line in lines for part in line.split("\n")]
    widths: list[int] = []
    for row in rows:
        for index, cell in enumerate(row[:-1]):
            width = max(len(cell) + padding, min_width)
            if index == len(widths):
                widths.append(width)
            elif width > widths[index]:
                widths[index] = width
    return ["".join(cell.ljust(widths[index]) for index, cell in enumerate(row[:-1])) + row[-1] for row in rows]
