"""Which stages are built, from what, and with which names in scope."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.build.planned import Images, as_document, environment, plan

from corten.build.dockerfile.error import DockerfileError
from corten.build.graph import in_order
from corten.build.operations import BaseImage, Context, Scratch
from corten.build.plan import Base, Stage
from corten.errors import NotFound
from corten.spec.oci_image import ImageConfig

FOUR = """\
FROM base AS a
RUN a
FROM base AS b
RUN b
FROM a AS c
COPY --from=b /x /y
FROM base AS d
RUN --mount=from=c,target=/c d
"""


@pytest.mark.parametrize(
    ("target", "needed"),
    [("a", ["a"]), ("b", ["b"]), ("c", ["a", "b", "c"]), ("", ["a", "b", "c", "d"]), ("D", ["a", "b", "c", "d"])],
)
def test_only_what_the_target_needs_is_built(target, needed):
    assert [stage.name for stage in plan(FOUR, target=target).stages] == needed


def test_stages_are_found_by_number_too():
    result = plan("FROM base\nRUN x\nFROM scratch\nCOPY --from=0 a /")
    copied = result.target.steps[-1].vertex
    assert copied.inputs[1] == result.stages[0].steps[-1].vertex


def test_a_stage_that_goes_on_from_another_stands_on_its_last_vertex():
    result = plan("FROM base AS a\nRUN x\nENV A=1\nFROM a\nRUN y")
    assert result.target.base is result.stages[0]
    assert result.target.steps[0].vertex == result.stages[0].steps[-1].vertex
    assert environment(result) == {"A": "1"}


def test_the_last_stage_of_a_name_counts():
    assert environment(plan("FROM scratch AS x\nENV A=1\nFROM scratch AS x\nENV A=2\nFROM x")) == {"A": "2"}


def test_a_stage_may_take_files_of_a_later_one_but_not_begin_with_it():
    result = plan("FROM scratch AS a\nCOPY --from=b x /\nFROM base AS b\nRUN y", target="a")
    assert [stage.name for stage in result.stages] == ["b", "a"]
    images = Images({"b": ImageConfig(), "base": ImageConfig()})
    plan("FROM b AS a\nFROM base AS b\nFROM a", images)
    assert images.asked == [("b", "")]


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("FROM scratch AS a\nCOPY --from=a x /", "a"),
        ("FROM scratch\nCOPY --from=0 x /", "stage-0"),
        ("FROM scratch AS a\nCOPY --from=b x /\nFROM a AS b\nRUN x", "b"),
        ("FROM scratch AS a\nCOPY --from=b x /\nFROM scratch AS b\nRUN --mount=from=a,target=/a x", "b"),
    ],
)
def test_circles_are_refused(text, stage):
    with pytest.raises(DockerfileError, match=f"circular dependency detected on stage: {stage}$"):
        plan(text)


@given(st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=1, max_size=8))
def test_needed_stages_come_before_those_that_need_them(needs):
    count = len(needs)
    lines = [
        f"FROM base AS s{i}" + "".join(f"\nCOPY --from=s{n % count} a /" for n in need) for i, need in enumerate(needs)
    ]
    try:
        stages = plan("\n".join(lines)).stages
    except DockerfileError:
        assert has_circle(needs, count - 1)
        return
    assert not has_circle(needs, count - 1)
    order = [stage.index for stage in stages]
    assert order[-1] == count - 1
    assert len(set(order)) == len(order)
    for position, index in enumerate(order):
        assert {need % count for need in needs[index]} <= set(order[:position])


def has_circle(needs: list[set[int]], start: int, path: tuple[int, ...] = ()) -> bool:
    """Whether a circle can be reached from `start`."""
    return start in path or any(has_circle(needs, need % len(needs), (*path, start)) for need in needs[start])


def test_global_arguments_are_for_froms_and_for_stages_that_take_them():
    text = "ARG V=1\nARG W=$V.2\nFROM base:$W\nENV A=[$V]\nARG V\nARG W=own\nENV B=$V$W"
    images = Images({"base:1.2": ImageConfig(), "base:9.2": ImageConfig()})
    assert environment(plan(text, images)) == {"A": "[]", "B": "1own"}
    assert environment(plan(text, images, build_args={"V": "9", "W": "9.2"})) == {"A": "[]", "B": "99.2"}
    assert images.asked == [("base:1.2", ""), ("base:9.2", "")]


def test_arguments_without_a_value_are_not_given():
    assert environment(plan("FROM scratch\nARG A=d\nENV X=$A", build_args={"A": None})) == {"X": "d"}


def test_platforms_are_arguments():
    text = """\
FROM --platform=$BUILDPLATFORM base AS build
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDARCH TARGETSTAGE
ENV X=$TARGETPLATFORM,$TARGETOS,$TARGETARCH,$TARGETVARIANT,$BUILDPLATFORM,$BUILDARCH,$TARGETSTAGE
"""
    images = Images({"base": ImageConfig()})
    result = plan(text, images, platform="linux/arm/v6")
    assert environment(result) == {"X": "linux/arm/v6,linux,arm,v6,linux/amd64,amd64,default"}
    assert images.asked == [("base", "linux/amd64")]
    plan("FROM base", images, platform="linux/arm64")
    assert images.asked[-1] == ("base", "linux/arm64")


def test_the_triggers_of_a_base_come_first_and_are_not_inherited():
    base = ImageConfig(on_build=["ENV A=$B", "COPY --from=tools /t /", "COPY <<F /f\n$A\nF"], env=["B=b"])
    text = "FROM base AS tools\nFROM onbuild AS app\nENV C=$A\nFROM app"
    result = plan(text, Images({"onbuild": base, "base": ImageConfig()}))
    tools, app, target = result.stages
    assert [step.text.partition(" ")[0] for step in app.steps] == ["FROM", "ENV", "COPY", "COPY", "ENV"]
    assert tools.name == "tools"
    assert environment(result)["C"] == "b"
    assert not target.steps[-1].config.on_build
    assert len(target.steps) == 1


def test_triggers_of_a_stage_are_run_by_the_stages_upon_it():
    result = plan("FROM scratch AS a\nONBUILD ENV X=1\nFROM a\nENV Y=$X")
    assert environment(result) == {"X": "1", "Y": "1"}


@pytest.mark.parametrize("trigger", ["FROM x", "ONBUILD RUN x", "MAINTAINER x", "NOPE x", "RUN <<A\nx"])
def test_triggers_that_are_none_are_refused_at_the_from(trigger):
    with pytest.raises(DockerfileError) as caught:
        plan("# c\nFROM base", Images({"base": ImageConfig(on_build=[trigger])}))
    assert caught.value.lines[0] == 2


def test_images_are_asked_for_together_and_once():
    images = Images({"a": ImageConfig(), "b": ImageConfig(), "unused": ImageConfig()})
    text = "FROM unused\nFROM a AS x\nFROM a AS y\nCOPY --from=b s /\nCOPY --from=b t /\nFROM scratch\nCOPY --from=x a /\nCOPY --from=y a /"
    plan(text, images)
    assert sorted(images.asked) == [("a", ""), ("b", "")]


def test_a_missing_image_is_told_as_its_owner_tells_it():
    with pytest.raises(NotFound, match="No such image: nope"):
        plan("FROM nope")


def test_named_contexts_come_before_stages_and_images():
    contexts = {"data": "local:data", "alpine": "docker-image://base", "b": "docker-image://base"}
    result = plan(
        "FROM nope AS b\nRUN never\nFROM docker.io/library/alpine:latest\nCOPY --from=data x /\nCOPY --from=b y /\nFROM data\nCOPY --from=1 z /",
        contexts=contexts,
    )
    operations = {type(vertex.operation): vertex.operation for vertex in in_order([result.target.steps[-1].vertex])}
    assert operations[BaseImage].reference == "base"
    first = result.target.steps[0]
    assert [vertex.operation for vertex in first.vertex.inputs] == [Scratch(), Context(name="data")]
    assert (first.changes_files, first.created_by) == (True, "COPY --from=data / / # buildkit")
    assert not any("never" in step.text for stage in result.stages for step in stage.steps)


def test_what_is_not_the_contexts_is_not_asked_of_it():
    result = plan("FROM scratch\nCOPY --from=scratch a /\nCOPY <<E /\nE")
    operations = [vertex.operation for vertex in in_order([result.target.steps[-1].vertex])]
    assert Context() not in operations
    assert Scratch() in operations


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM scratch\nCOPY --from=3 a /", "invalid stage index 3"),
        ("FROM scratch\nCOPY --from=nope/ a /", 'failed to parse stage name "nope/": '),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM Base:x/y", 'failed to parse base name "Base:x/y": '),
        ("FROM --platform=a/b/c/d base", "failed to parse platform a/b/c/d: "),
        ("FROM --platform=$NONE base", "empty platform value from expression $NONE"),
        ("FROM $NONE", "base name ($NONE) should not be blank"),
        ("FROM ${NONE:?tell}", "NONE: tell"),
        ("ARG A=${NONE:?tell}\nFROM base", "NONE: tell"),
    ],
)
def test_what_cannot_be_begun_with_is_refused_with_its_line(text, reason):
    with pytest.raises(DockerfileError) as caught:
        plan(text)
    assert reason in caught.value.reason
    assert caught.value.lines[0] == (2 if "\nCOPY" in text else 1)


def test_steps_tell_what_was_written_where_and_whether_files_change():
    result = plan("ARG V=1\nFROM base AS x\nENV A=1 \\\n  B=2\nRUN a\nWORKDIR /\nUSER u")
    steps = [(step.text, step.lines, step.changes_files) for step in result.target.steps]
    assert steps == [
        ("ARG V=1", (1, 1), False),
        ("FROM base AS x", (2, 2), False),
        ("ENV A=1   B=2", (3, 4), False),
        ("RUN a", (5, 5), True),
        ("WORKDIR /", (6, 6), False),
        ("USER u", (7, 7), False),
    ]
    assert [step.created_by for step in result.target.steps[:2]] == ["", ""]
    assert isinstance(result.target.base, Base)


def test_equal_steps_of_two_stages_are_one_vertex():
    result = plan("FROM base AS a\nRUN x\nFROM base AS b\nRUN x\nFROM a\nCOPY --from=b c /")
    assert result.stages[0].steps[-1].vertex == result.stages[1].steps[-1].vertex
    assert isinstance(result.target.base, Stage)


def test_the_configuration_of_a_target_in_the_middle_is_its_own():
    assert (
        as_document(plan("FROM scratch AS a\nUSER a\nFROM a\nUSER b", target="a").target.steps[-1].config)["User"]
        == "a"
    )


@pytest.mark.parametrize(
    "config", [ImageConfig(env=["A=\0"]), ImageConfig(working_dir="/\0"), ImageConfig(on_build=["RUN \0"])]
)
def test_a_base_that_would_bring_nul_characters_is_refused(config):
    with pytest.raises(DockerfileError, match="NUL") as caught:
        plan("\nFROM base\nCOPY a $A", Images({"base": config}))
    assert caught.value.lines == (2, 2)
