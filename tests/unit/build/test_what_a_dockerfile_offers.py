"""--call=outline and --call=targets: documents and texts as buildx prints them, from the Dockerfile alone."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.calls.results import answer
from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.stages import BuildRequest, parse_dockerfile

TEXT = """\
# syntax=docker/dockerfile:1
# GO_VERSION is the version of Go
ARG GO_VERSION=1.22
ARG UNUSED=1
ARG BASE=golang:${GO_VERSION}

# base is the base stage
FROM --platform=$BUILDPLATFORM ${BASE} AS base
# HUGO_ENV sets the <environment>
# second line
ARG HUGO_ENV
ARG TARGETOS
ENV A=b
ARG X=${A}c
RUN --mount=type=secret,id=tok,required --mount=type=ssh --mount=type=cache,target=/root/.cache true
RUN --mount=type=secret,id=tok --mount=type=ssh,id=other,required=true true
FROM scratch AS aside
ARG NOT=1
# release is what comes out
FROM base AS release
ARG GO_VERSION
COPY --from=nowhere:1 / /
"""


def ask(call: str, text: str = TEXT, **request: object) -> tuple[str, dict[str, object]]:
    data = text.encode()
    found = answer(call, parse_dockerfile(data), BuildRequest(**request), data)  # type: ignore[arg-type]
    assert found["version"] == "1.0.0"
    return found["result.txt"], json.loads(found["result.json"])


def lines(first: int, last: int | None = None) -> dict[str, object]:
    return {"ranges": [{"start": {"line": first}, "end": {"line": last or first}}]}


def test_an_outline_has_what_the_target_and_its_stages_take() -> None:
    text, document = ask("outline")
    assert text == (
        "TARGET:      release\n"
        "DESCRIPTION: is what comes out\n"
        "\n"
        "BUILD ARG    VALUE         DESCRIPTION\n"
        "GO_VERSION   1.22          is the version of Go\n"
        "BASE         golang:1.22   \n"
        "HUGO_ENV                   sets the <environment>\n"
        "X            bc            \n"
        "\n"
        "SECRET   REQUIRED\n"
        "tok      true\n"
        "\n"
        "SSH       REQUIRED\n"
        "default   \n"
        "other     true\n"
        "\n"
        "CACHE MOUNT\n"
        "/root/.cache\n"
        "\n"
    )
    assert document == {
        "name": "release",
        "description": "is what comes out",
        "args": [
            {"name": "GO_VERSION", "description": "is the version of Go", "value": "1.22", "location": lines(3)},
            {"name": "BASE", "value": "golang:1.22", "location": lines(5)},
            {"name": "HUGO_ENV", "description": "sets the <environment>", "location": lines(11)},
            {"name": "X", "value": "bc", "location": lines(14)},
        ],
        "secrets": [{"name": "tok", "required": True, "location": lines(15)}],
        "ssh": [
            {"name": "default", "location": lines(15)},
            {"name": "other", "required": True, "location": lines(16)},
        ],
        "cache": [{"ID": "/root/.cache", "location": lines(15)}],
        "sources": [base64.b64encode(TEXT.encode()).decode()],
    }


def test_an_outline_of_another_target_with_given_values() -> None:
    assert ask("outline", target="aside")[1]["args"] == [{"name": "NOT", "value": "1", "location": lines(18)}]
    args = ask("outline", build_args={"GO_VERSION": "2", "X": "y"})[1]["args"]
    assert [arg["value"] for arg in args if "value" in arg] == ["2", "golang:2", "y"]  # type: ignore[attr-defined]
    assert ask("outline", "FROM scratch\n")[0] == ""
    with pytest.raises(DockerfileError, match='target stage "no" could not be found'):
        ask("outline", target="no")


def test_targets_are_all_stages_in_order() -> None:
    text, document = ask("targets")
    assert text == (
        "TARGET            DESCRIPTION\n"
        "base              is the base stage\n"
        "aside             \n"
        "release (default) is what comes out\n"
    )
    assert document["targets"] == [
        {
            "name": "base", "description": "is the base stage", "base": "${BASE}", "platform": "$BUILDPLATFORM",
            "location": lines(8),
        },
        {"name": "aside", "base": "scratch", "location": lines(17)},
        {
            "name": "release", "default": True, "description": "is what comes out", "base": "base",
            "location": lines(20),
        },
    ]  # fmt: skip
    assert ask("targets", "FROM scratch\n")[0] == "TARGET    DESCRIPTION\n(default) \n"


def test_json_is_gos() -> None:
    data = b"# a b<c>&d\nFROM scratch AS a\n"
    found = answer("targets", parse_dockerfile(data), BuildRequest(), data)["result.json"]
    assert '\n      "description": "b\\u003cc\\u003e\\u0026d",\n' in found


@given(st.lists(st.sampled_from([
    "ARG A=${B}", "ARG B=1", "FROM $A AS x", "FROM x", "FROM scratch AS y", "ARG C=${A:-d}", "ENV B=2",
    "COPY --from=x a b", "RUN --mount=type=secret,id=$A true", "RUN --mount=type=cache,target=/c,from=y true",
    "# A is a", "ONBUILD ARG Z",
]), max_size=12))  # fmt: skip
def test_any_dockerfile_has_an_answer_or_an_error_of_its_own(instructions: list[str]) -> None:
    data = ("FROM scratch\n" + "\n".join(instructions) + "\n").encode()
    dockerfile = parse_dockerfile(data)
    for call in ("outline", "targets"):
        try:
            found = answer(call, dockerfile, BuildRequest(), data)
        except DockerfileError:
            continue
        assert set(found) == {"result.json", "result.txt", "version"}
