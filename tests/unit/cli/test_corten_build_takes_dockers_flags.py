"""Every flag of `docker build` and `docker buildx build` is known; what cannot be done is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.fake_engine import FakeEngine
from tests.unit.cli.recording import CORTEN, client

from corten.cli import table
from corten.cli.build.call import parse_call
from corten.cli.build.told import BuildError, Told, all_metadata, check_tag
from corten.cli.commands.build import COMMAND
from corten.cli.errors import CliError
from corten.cli.option import parse

# buildx 0.31 and the classic builder of Docker 28
FLAGS = [
    "add-host", "allow", "annotation", "attest", "build-arg", "build-context", "builder", "cache-from",
    "cache-to", "call", "cgroup-parent", "check", "compress", "cpu-period", "cpu-quota", "cpu-shares",
    "cpuset-cpus", "cpuset-mems", "debug", "file", "force-rm", "iidfile", "isolation", "label",
    "load", "memory", "memory-swap", "metadata-file", "network", "no-cache", "no-cache-filter", "output",
    "platform", "policy", "progress", "provenance", "pull", "push", "quiet", "resource",
    "rm", "sbom", "secret", "security-opt", "shm-size", "squash", "ssh", "tag",
    "target", "ulimit",
]  # fmt: skip
# an engine elsewhere, which reads no directories
ANSWERS: dict[str, Any] = {
    "POST /build": (200, {"aux": {"ID": "sha256:1"}}),
    "POST /corten/build": (404, {"message": "page not found"}),
}


def test_all_flags_are_known() -> None:
    known = {option.long for option in COMMAND.options}
    assert set(FLAGS) <= known
    values, rest, _ = parse(COMMAND.options, ["-D", "-q", "-t", "a", "-f", "x", "-o", "d", "-c", "1", "-m", "4m", "."])
    assert (values["debug"], values["quiet"], values["tag"], values["cpu-shares"], rest) == (
        True,
        True,
        ["a"],
        1,
        ["."],
    )


@pytest.mark.parametrize("words", ["build", "builder build", "image build", "buildx build"])
def test_it_has_dockers_names(words: str) -> None:
    assert table.resolve(words) == table.resolve("build")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["-t", "Bad"], 'invalid tag "Bad": repository name must be lowercase'),
        (["-t", "a b"], 'invalid tag "a b": invalid reference format'),
        (["--builder", "other"], 'no builder "other" found'),
        (["--policy", "x"], "--policy is not supported"),
        (["--isolation", "hyperv"], "--isolation=hyperv is not supported"),
        (["--resource", "disk=1"], "invalid resource 'disk=1'"),
        (["--resource", "memory=much"], "invalid resource memory=much"),
        (["--progress", "bad"], "invalid progress mode bad"),
        (["--progress", "tty"], "failed to get console: provided file is not a console"),
        (["--call", "dance"], "--call=dance is not supported"),
        (["--call", "outline,format=xml"], "only format=text and format=json are known"),
        (["--check", "--call", "outline"], "cannot specify both"),
        (["--metadata-file", "/nonexist/x", "--iidfile", "/nonexist/x"], "/nonexist/x: no such file or directory"),
    ],
)
def test_what_cannot_be_done_ends_with_one_and_a_sentence(flags: list[str], text: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    engine = FakeEngine(tmp_path / "s", ANSWERS)
    done = client(CORTEN, engine, ["build", *flags, str(tmp_path)], tmp_path)
    engine.close()
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("ERROR: ")
    assert text in done.stderr


def test_flags_become_the_engines_query(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    engine = FakeEngine(tmp_path / "s", ANSWERS)
    flags = [
        "--no-cache-filter",
        "a",
        "--no-cache-filter",
        "b",
        "--resource",
        "memory=1k,cpu-quota=5",
        "--builder=default",
    ]
    done = client(CORTEN, engine, ["buildx", "build", *flags, "-q", "-D", str(tmp_path)], tmp_path)
    engine.close()
    assert (done.returncode, done.stdout, done.stderr) == (0, "sha256:1\n", "")
    (asked,) = (one for one in engine.requests() if one.path == "/build")
    query = [
        pair for pair in asked.query if pair[0] in ("progress", "nocachefilter", "memory", "cpuquota", "keepfailed")
    ]
    assert sorted(query) == [
        ("cpuquota", "5"), ("memory", "1024"), ("nocachefilter", "a"), ("nocachefilter", "b"), ("progress", "status"),
    ]  # fmt: skip


def test_calls_and_their_forms() -> None:
    assert parse_call("", is_check=False).name == ""
    assert parse_call("build", is_check=True).name == "lint"
    assert parse_call("check,format=json", is_check=False).is_json
    called = parse_call("targets,format=json", is_check=False)
    assert called.report({"result.json": "{}", "result.txt": "t\n"}, {}, "D") == "{}\n"
    assert parse_call("targets", is_check=False).report({"result.json": "{}", "result.txt": "t\n"}, {}, "D") == "t\n"


def test_metadata_is_buildxs() -> None:
    told = Told("Dockerfile")
    told.take_all([{"aux": {"ID": "sha256:ab"}}, {"aux": {"Metadata": {"a.first": 1}}}], _Nobody())
    assert all_metadata(told, ["t", "reg.example/x/y:2"]) == {
        "a.first": 1,
        "containerimage.config.digest": "sha256:ab",
        "containerimage.digest": "sha256:ab",
        "image.name": "docker.io/library/t:latest,reg.example/x/y:2",
    }
    assert list(all_metadata(told, [])) == ["a.first", "containerimage.config.digest", "containerimage.digest"]
    assert all_metadata(Told("Dockerfile"), []) == {}


def test_a_failure_has_its_lines() -> None:
    place = {"sourceIndex": 0, "ranges": [{"start": {"line": 2}, "end": {"line": 2}}]}
    lint = {
        "sources": [{"filename": "Dockerfile", "data": "RlJPTSBhClJVTiBiCg=="}],
        "buildError": {"message": "no", "location": place},
    }
    told = Told("My.Dockerfile")
    with pytest.raises(BuildError, match="no") as failed:
        told.take_all([{"aux": {"Lint": lint}}, {"errorDetail": {"message": "no"}, "error": "no"}], _Nobody())
    assert failed.value.lines == (2, 2)
    assert failed.value.excerpt.splitlines()[0] == "My.Dockerfile:2"
    assert " >>> RUN b" in failed.value.excerpt


def test_warnings_about_no_line_are_kept() -> None:
    told = Told("Dockerfile")
    status = {"warnings": [{"short": "bm90ZQ=="}, {"short": "bGludA==", "vertex": "sha256:1"}]}
    told.take_all([{"aux": {"Status": status}}], _Nobody())
    assert told.notes == ["note"]


def test_names_that_are_none() -> None:
    check_tag("a/b:c")
    with pytest.raises(CliError):
        check_tag(json.dumps("x"))


class _Nobody:
    def update(self, status: object) -> None:
        pass
