"""Execution of a parsed template over JSON data or a row of a table."""

from __future__ import annotations

from corten.cli.template.functions import FUNCTIONS, Failed, truth
from corten.cli.template.lexer import TemplateError
from corten.cli.template.parser import Node, Template, parse
from corten.cli.template.printing import go_string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_MAX_DEPTH = 200
_ABSENT = object()


class Fields:
    """A thing with named fields that are computed: `get` returns a value or a function of the arguments behind it.

    It raises KeyError for a name that it does not have; `type_name` is what Go would call it.
    """

    type_name = "interface {}"

    def get(self, name: str) -> Any:
        """The value of a field."""
        raise KeyError(name)


class _NoField(Exception):
    pass


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


def execute(
    template: Template,
    data: Any,
    *,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    missing: Callable[[str], Any] | None = None,
) -> str:
    """The text. `missing` gives the value of a key that a map lacks, or raises KeyError to make it an error."""
    run = _Run(template, {**FUNCTIONS, **(functions or {})}, missing)
    run.nodes(template.nodes, data, [{"$": data}])
    return "".join(run.out)


def render(source: str, data: Any) -> str:
    """Parse and execute."""
    return execute(parse(source), data)


class _Run:
    def __init__(
        self, template: Template, functions: dict[str, Callable[..., Any]], missing: Callable[[str], Any] | None
    ) -> None:
        self.out: list[str] = []
        self._template = template
        self._functions = functions
        self._missing = missing
        self._depth = 0

    def nodes(self, nodes: Sequence[Node], dot: Any, scopes: list[dict[str, Any]]) -> None:  # noqa: C901 - a list of cases, flat on purpose
        """Execute one list of nodes."""
        for node in nodes:
            kind = node[0]
            if kind == "text":
                self.out.append(node[1])
            elif kind == "action":
                value = self.pipeline(node[1], dot, scopes)
                if not node[1][0]:
                    self.out.append(go_string(value, top=True))
            elif kind == "if" or kind == "with":
                inner = [*scopes, {}]
                value = self.pipeline(node[1], dot, inner)
                if truth(value):
                    self.nodes(node[2], value if kind == "with" else dot, inner)
                else:
                    self.nodes(node[3], dot, inner)
            elif kind == "range":
                self._range(node, dot, scopes)
            elif kind == "template":
                self._call_template(node, dot, scopes)
            elif kind == "break":
                raise _Break
            elif kind == "continue":
                raise _Continue

    def _call_template(self, node: Node, dot: Any, scopes: list[dict[str, Any]]) -> None:
        nodes = self._template.defined.get(node[1])
        if nodes is None:
            raise TemplateError(
                f'template: :1: executing "" at <{{{{template "{node[1]}"}}}}>: template "{node[1]}" not defined'
            )
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TemplateError("template: exceeded maximum template depth")
        argument = self.pipeline(node[2], dot, scopes) if node[2] else None
        self.nodes(nodes, argument, [{"$": argument}])
        self._depth -= 1

    def _range(self, node: Node, dot: Any, scopes: list[dict[str, Any]]) -> None:  # noqa: C901 - a list of cases, flat on purpose
        _, pipeline, names, then, otherwise = node
        value = self.pipeline(([], False, pipeline[2]), dot, scopes)
        if isinstance(value, dict):
            items: list[tuple[Any, Any]] = [(key, value[key]) for key in sorted(value)]
        elif isinstance(value, list):
            items = list(enumerate(value))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(index, index) for index in range(value)]
        elif value is None:
            items = []
        else:
            raise TemplateError(f"template: :1: range can't iterate over {go_string(value)}")
        if not items:
            self.nodes(otherwise, dot, [*scopes, {}])
        for key, item in items:
            scope: dict[str, Any] = {}
            if len(names) == 1:
                scope[names[0]] = item
            elif names:
                scope[names[0]], scope[names[1]] = key, item
            try:
                self.nodes(then, item, [*scopes, scope])
            except _Continue:
                continue
            except _Break:
                break

    def pipeline(self, node: Node, dot: Any, scopes: list[dict[str, Any]]) -> Any:
        """The value of the last command; each gets the value of the one before as its last argument."""
        names, declares, commands = node
        value: Any = _ABSENT
        for command in commands:
            value = self._command(command, dot, scopes, value)
        if names:
            target = scopes[-1]
            if not declares:
                target = next((scope for scope in reversed(scopes) if names[0] in scope), target)
            target[names[0]] = value
        return value

    def _command(self, operands: list[Node], dot: Any, scopes: list[dict[str, Any]], final: Any) -> Any:
        first = operands[0]
        if first[0] == "function":
            return self._function(first, operands[1:], dot, scopes, final)
        arguments = [self._operand(operand, dot, scopes) for operand in operands[1:]]
        if final is not _ABSENT:
            arguments.append(final)
        return self._operand(first, dot, scopes, arguments)

    def _function(self, node: Node, operands: list[Node], dot: Any, scopes: list[dict[str, Any]], final: Any) -> Any:
        name = node[1]
        if name in ("and", "or"):  # they stop at the first argument that decides
            value: Any = None
            for operand in operands:
                value = self._operand(operand, dot, scopes)
                if truth(value) != (name == "and"):
                    return value
            return value if final is _ABSENT else final
        function = self._functions.get(name)
        if function is None:
            raise TemplateError(f'template: :{node[3]}: function "{name}" not defined')
        arguments = [self._operand(operand, dot, scopes) for operand in operands]
        if final is not _ABSENT:
            arguments.append(final)
        try:
            return function(*arguments)
        except Failed as error:
            raise self._error(node, str(error)) from None
        except (TypeError, AttributeError, ValueError):
            raise self._error(node, f"wrong number or type of args for {name}") from None

    def _error(self, node: Node, text: str) -> TemplateError:
        shown, line, column = node[-3:]
        return TemplateError(f'template: :{line}:{column}: executing "" at <{shown}>: {text}')

    def _operand(self, node: Node, dot: Any, scopes: list[dict[str, Any]], arguments: list[Any] | None = None) -> Any:
        kind = node[0]
        if kind == "field":
            return self._fields(dot, node[1], node, arguments or [])
        if kind == "value":
            return node[1]
        if kind == "dot":
            return dot
        if kind == "variable":
            for scope in reversed(scopes):
                if node[1] in scope:
                    return self._fields(scope[node[1]], node[2], node, arguments or [])
            raise TemplateError(f'template: :{node[4]}: undefined variable "{node[1]}"')
        if kind == "pipe":
            value = self.pipeline(node[1], dot, scopes)
            return self._fields(value, node[2], node, arguments or [])
        if kind == "function":
            return self._function(node, [], dot, scopes, _ABSENT)
        return None

    def _fields(self, value: Any, names: list[str], node: Node, arguments: list[Any]) -> Any:
        for index, name in enumerate(names):
            last = index == len(names) - 1
            try:
                value = self._field(value, name, arguments if last else [])
            except _NoField as error:
                shift = sum(len(part) + 1 for part in names[:index])
                raise self._error((*node[:-1], node[-1] + shift), str(error)) from None
        return value

    def _field(self, value: Any, name: str, arguments: list[Any]) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if self._missing is None:
                return None
            try:
                return self._missing(name)
            except KeyError:
                raise _NoField(f'map has no entry for key "{name}"') from None
        if isinstance(value, Fields):
            try:
                found = value.get(name)
            except KeyError:
                raise _NoField(f"can't evaluate field {name} in type {value.type_name}") from None
            return found(*arguments) if callable(found) else found
        if value is None:
            if self._missing is None:
                return None
            raise _NoField(f"nil pointer evaluating interface {{}}.{name}")
        raise _NoField(f"can't evaluate field {name} in type interface {{}}")
