"""Sizes, names, docstrings, tables: what keeps the house readable."""

import ast
import importlib

import pytest

from corten.api import routes
from corten.api.router import Router
from corten.api.routing import Route
from tests.arch.sources import ROOT, files, functions, module_of, tree

MAX_LINES = 400
MAX_FUNCTION_LINES = 70
# Tables of data: one row a line, nothing to read through.
TABLES = {"linux/syscall_table.py", "daemon/options.py"}
# One constructor after the other, nothing to decide.
COMPOSITIONS = {"daemon/building.py", "engine/containers/assembly.py"}
VAGUE = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}


@pytest.mark.parametrize("file", files(), ids=str)
def test_a_file_has_one_job(file):
    lines = (ROOT / file).read_text().count("\n")
    assert lines <= MAX_LINES or str(file) in TABLES
    assert file.stem not in VAGUE
    long = [(name, count) for name, count in functions(file) if count > MAX_FUNCTION_LINES]
    assert long == [] or str(file) in COMPOSITIONS


@pytest.mark.parametrize("file", files(), ids=str)
def test_a_file_says_what_it_is_for(file):
    assert ast.get_docstring(tree(file))


def route_files() -> set[str]:
    base = ROOT / "api" / "routes"
    found = (path.relative_to(base).with_suffix("").parts for path in base.rglob("*.py") if path.stem != "__init__")
    return {".".join(parts) for parts in found}


def has_routes(name: str) -> bool:
    return bool(routes.routes_of(importlib.import_module(f"corten.api.routes.{name}")))


def test_the_route_table_names_every_route_file_and_nothing_else():
    assert len(routes.MODULES) == len(set(routes.MODULES))
    assert {name for name in route_files() if has_routes(name)} == set(routes.MODULES)


def example(route: Route) -> str:
    return route.path.replace("{name:path}", "a/b").replace("{", "x").replace("}", "")


def test_every_route_is_found_by_its_own_path():
    table = routes.collect()
    router = Router(table)
    seen = set()
    for route in table:
        found = router.find(route.method, example(route))
        assert found is not None
        assert found[0] is route
        assert (route.method, route.path) not in seen
        seen.add((route.method, route.path))


def test_every_package_has_an_init_file():
    for file in files():
        assert (ROOT / file.parent / "__init__.py").exists(), module_of(file)
