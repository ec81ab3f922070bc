"""Dockerfiles that Docker 26.1.5 (BuildKit) built or refused: configuration, history, author, errors."""

import pytest
from tests.unit.build.planned import as_document, plan, recorded

from corten.build.dockerfile.error import DockerfileError
from corten.build.plan import Plan, Stage

# What we do otherwise, on purpose, and why.
DIFFERENT_ERRORS = {
    "unknown flag: security": "a flag since Docker 29's frontend",
    'failed to process "<<\\"E"': "we say which word it is in the line",
}


def history(result: Plan) -> list[str]:
    """Of the target and of the stages that it stands on."""
    stages: list[Stage] = []
    stage = result.target
    while isinstance(stage, Stage):
        stages.insert(0, stage)
        stage = stage.base
    return [step.created_by for each in stages for step in each.steps if step.created_by]


def ours(row: dict) -> dict:
    """The recorded row with what has changed in the frontend since."""
    config = dict(row["config"])
    if "TARGETSTAGE" in row["dockerfile"]:  # has a value since frontend 1.9
        config["Env"] = [entry + "default" if entry.startswith("Y=") else entry for entry in config["Env"]]
    if config.get("WorkingDir", "").startswith("/a/."):  # normalised by the classic builder, not by BuildKit
        config["WorkingDir"] = "/a/b/c"
    return config


BUILT = [row for row in recorded("builds") if "config" in row]
REFUSED = [row for row in recorded("builds") if "error" in row]


def request(row: dict) -> dict:
    return {"build_args": row.get("build_args", {}), "target": row.get("target", "")}


@pytest.mark.parametrize("row", BUILT, ids=lambda row: repr(row["dockerfile"])[:120])
def test_the_configuration_is_dockers(row):
    result = plan(row["dockerfile"], **request(row))
    config = as_document(result.target.steps[-1].config)
    assert config == ours(row)
    assert result.target.author == row.get("author", "")


@pytest.mark.parametrize("row", BUILT, ids=lambda row: repr(row["dockerfile"])[:120])
def test_the_history_is_dockers(row):
    found = history(plan(row["dockerfile"], **request(row)))
    if "TARGETSTAGE" in row["dockerfile"] or "/a/./b" in row["dockerfile"]:
        return
    # the classic builder tells of ONBUILD, BuildKit does not
    assert [line for line in found if not line.startswith("ONBUILD")] == row["history"]


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: repr(row["dockerfile"])[:120])
def test_what_docker_refuses_is_refused_with_its_words(row):
    with pytest.raises(DockerfileError) as caught:
        plan(row["dockerfile"], **request(row))
    reason = row["error"].partition(": ")[2] if row["error"].startswith("dockerfile parse error") else row["error"]
    if reason.startswith(tuple(DIFFERENT_ERRORS)):
        return
    assert caught.value.reason == reason
    if row["error"].startswith("dockerfile parse error"):
        assert caught.value.message == row["error"]
