"""Warnings of checks and the lines of failures, as docker's buildx writes them."""

import base64
from typing import Any

import pytest

from corten.cli.build.findings import build_report, check_report, source_lines, where

TEXT = "FROM busybox\nMAINTAINER me\n\nCMD true\n"
RULE = "--------------------\n"


def warning(name: str, detail: str, line: int) -> dict[str, Any]:
    return {
        "ruleName": name,
        "description": f"About {name}",
        "url": f"https://docs.docker.com/{name}/",
        "detail": detail,
        "location": {"sourceIndex": 0, "ranges": [{"start": {"line": line}, "end": {"line": line}}]},
    }


def results(*warnings: dict[str, Any]) -> dict[str, Any]:
    source = {"filename": "Dockerfile", "language": "Dockerfile", "data": base64.b64encode(TEXT.encode()).decode()}
    return {"sources": [source], **({"warnings": list(warnings)} if warnings else {})}


@pytest.mark.parametrize(
    ("first", "last", "shown"),
    [
        (1, 1, ["   1 | >>> a", "   2 |     b", "   3 |     c"]),
        (3, 3, ["   1 |     a", "   2 |     b", "   3 | >>> c", "   4 |     d", "   5 |     e"]),
        (6, 6, ["   4 |     d", "   5 |     e", "   6 | >>> f"]),
        (2, 3, ["   1 |     a", "   2 | >>> b", "   3 | >>> c", "   4 |     d"]),
        (6, 9, ["   4 |     d", "   5 |     e", "   6 | >>> f"]),
    ],
)
def test_lines_are_marked_and_shown_with_those_around_them(first: int, last: int, shown: list[str]) -> None:
    expected = f"Dockerfile:{first}\n{RULE}" + "".join(f"{line}\n" for line in shown) + RULE
    assert source_lines("Dockerfile", list("abcdef"), first, last) == expected


@pytest.mark.parametrize("first", [0, 7, -1])
def test_lines_that_are_not_there_are_not_shown(first: int) -> None:
    assert source_lines("Dockerfile", list("abcdef"), first, first) == ""


def test_a_failure_without_a_place_shows_no_lines() -> None:
    assert where(results(), None, "Dockerfile") == ""
    assert where(results(), {"ranges": []}, "Dockerfile") == ""


def test_a_check_without_findings_says_so() -> None:
    assert check_report(results(), "Dockerfile") == "Check complete, no warnings found.\n"


def test_a_check_shows_each_finding_with_its_lines() -> None:
    assert check_report(results(warning("MaintainerDeprecated", "Use a label", 2)), "d/f") == (
        "Check complete, 1 warning has been found!\n\n"
        "WARNING: MaintainerDeprecated - https://docs.docker.com/MaintainerDeprecated/\nUse a label\n"
        f"d/f:2\n{RULE}   1 |     FROM busybox\n   2 | >>> MAINTAINER me\n   3 |     \n   4 |     CMD true\n{RULE}"
    )
    two = check_report(results(warning("A", "a", 1), warning("B", "b", 2)), "Dockerfile")
    assert two.startswith("Check complete, 2 warnings have been found!\n")
    assert two.index("WARNING: A") < two.index("WARNING: B")


def test_a_build_ends_with_a_list_of_findings_that_debug_expands() -> None:
    found = results(warning("A", "a", 1))
    assert build_report(found, "Dockerfile", debug=False) == (
        "\n 1 warning found (use --debug to expand):\n - A: a (line 1)\n"
    )
    expanded = build_report(found, "Dockerfile", debug=True)
    assert expanded.startswith(
        "\n 1 warning found:\n - A: a (line 1)\nAbout A\nMore info: https://docs.docker.com/A/\n"
    )
    assert "   1 | >>> FROM busybox\n" in expanded
    assert build_report(results(), "Dockerfile", debug=True) == ""
    assert "\n 2 warnings found (" in build_report(results(warning("A", "a", 1), warning("B", "b", 2)), "", debug=False)
