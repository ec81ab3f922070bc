"""Named contexts: which one a name means, and what its value asks for."""

import pytest
from tests.unit.build.planned import plan

from corten.build.dockerfile.contexts import fetched_of, find_context, image_of, is_context, local_name
from corten.build.dockerfile.error import DockerfileError
from corten.build.graph import in_order
from corten.build.operations import BaseImage, Context, Copy, Download, GitCheckout, Scratch


@pytest.mark.parametrize(
    ("key", "name", "is_meant"),
    [
        ("data", "data", True),
        ("alpine", "docker.io/library/alpine:latest", True),
        ("docker.io/library/alpine:latest", "alpine", True),
        ("alpine", "alpine:3.20", False),
        ("alpine:3.20", "alpine:3.20", True),
        (f"alpine@sha256:{'a' * 64}", f"docker.io/library/alpine@sha256:{'a' * 64}", True),
        (f"alpine@sha256:{'a' * 64}", "alpine", False),
        ("ghcr.io/o/x", "ghcr.io/o/x:latest", True),
        ("Data", "data", False),
        ("data::linux/amd64", "data", False),
    ],
)
def test_names_are_compared_as_images_are(key: str, name: str, is_meant: bool):
    assert find_context({key: "local:x"}, name, "") == ((key, "local:x") if is_meant else None)


def test_a_platforms_own_context_goes_first():
    contexts = {"data": "local:any", "data::linux/arm64": "local:arm"}
    assert find_context(contexts, "data", "linux/arm64") == ("data::linux/arm64", "local:arm")
    assert find_context(contexts, "data", "linux/amd64") == ("data", "local:any")


def test_a_value_names_an_image_or_what_is_fetched_or_the_clients():
    assert image_of("docker-image://alpine:3") == "alpine:3"
    assert image_of("https://h/x.git") is None
    assert fetched_of("n", "https://u:p@h/x.git#main:d") == GitCheckout(
        remote="https://h/x.git", ref="main", subdir="d", authorization="Basic dTpw"
    )
    assert fetched_of("n", "https://u:p@h/x.tgz") == Download(
        url="https://h/x.tgz", name="context", authorization="Basic dTpw"
    )
    assert fetched_of("n", "local:n") is None
    assert [local_name("n", value) for value in ("local:m", "/dir")] == ["m", "n"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("oci-layout:///x@sha256:1", "invalid OCI layout reference"),
        ("oci-layout://:tag", "invalid OCI layout reference"),
        ("target:x", "a target of a bake file"),
        ("input:x", "handed over by clients of BuildKit"),
        ("ssh://a:b@h/x.git", "git over ssh takes no password"),
        ("https://h/x.git?nope=1", "unexpected query"),
        ("docker-image://A B", "failed to parse base name"),
    ],
)
def test_what_cannot_be_a_context_is_told_with_its_line(value: str, reason: str):
    with pytest.raises(DockerfileError, match=reason) as caught:
        plan("FROM scratch\nCOPY --from=n a /", contexts={"n": value})
    assert caught.value.lines == (2, 2)


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("n", "x", True),
        ("", "x", False),
        ("n", "", False),
        ("a b", "x", False),
        ("n", "x\0", False),
        ("n\n", "x", False),
    ],
)
def test_a_context_has_a_name_without_blanks_and_a_value(name: str, value: str, is_one: bool):
    assert is_context(name, value) == is_one


def test_fetched_contexts_are_vertices_of_the_graph():
    text = "FROM src AS a\nFROM scratch\nCOPY --from=a /x /\nCOPY --from=src /y /\nRUN --mount=from=web,target=/m z"
    made = plan(text, contexts={"src": "https://h/x.git", "web": "http://h/f"})
    found = {type(vertex.operation) for vertex in in_order([made.target.steps[-1].vertex])}
    assert {GitCheckout, Download, Copy, Scratch} <= found
    assert Context not in found
    first = made.stages[0].steps[0]
    assert first.vertex.operation == Copy(sources=first.vertex.operation.sources, destination="/")
    assert [type(below.operation) for below in first.vertex.inputs] == [Scratch, GitCheckout]
    replaced = plan("FROM base\nCOPY --from=base x /", contexts={"base": "docker-image://scratch"})
    assert not any(isinstance(v.operation, BaseImage) for v in in_order([replaced.target.steps[-1].vertex]))
    kept = plan("FROM scratch\nCOPY --from=scratch x /", contexts={"scratch": "docker-image://base"})
    assert kept.stages[0].base is None
