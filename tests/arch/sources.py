"""The sources as the architecture tests see them: files, packages, imports, functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "src" / "corten"


@cache
def files() -> list[Path]:
    """All source files, relative to src/corten."""
    return sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))


def module_of(file: Path) -> str:
    """`corten.api.server` for `api/server.py`."""
    parts = ["corten", *file.with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> frozenset[str]:
    """The names of all source files."""
    return frozenset(module_of(file) for file in files())


def package_of(module: str) -> str:
    """`api` for `corten.api.server`, "" for corten itself."""
    return module.split(".")[1] if "." in module else ""


@cache
def tree(file: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse((ROOT / file).read_text(), str(file))


def _typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if not _typing_only(child):
            yield child
            yield from _walk(child)


@cache
def imports(file: Path) -> frozenset[str]:
    """Every module that a file imports when it runs, inside functions too; names of `from x import y` where y is one."""
    known = modules()
    found: set[str] = set()
    for node in _walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return frozenset(found)


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
