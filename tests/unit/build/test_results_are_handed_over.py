"""Results that clients hand from one build to another, and what else they may hand over: nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.buildkit.frontend import Frontend
from corten.build.buildkit.jobs import BuildJob
from corten.build.buildkit.linked import Results, definition_of, name_of
from corten.build.buildkit.messages.control import SolveRequest
from corten.build.buildkit.messages.pb import Definition, Input, Op, SourceOp
from corten.build.filesystem import FileSystem
from corten.build.given import Given, is_given
from corten.errors import CortenError, InvalidArgument
from corten.lib.grpc.status import Code, GrpcError
from corten.lib.protobuf.wire import decode, encode
from corten.spec import reference as references
from corten.spec.digest import digest_of
from corten.spec.oci_image import Image
from corten.spec.reference import InvalidReference


async def have(_filesystem: FileSystem) -> None:
    pass


GIVEN = Given(image=Image(architecture="amd64", os="linux"), filesystem=FileSystem(), have=have)


def test_a_definition_names_its_result() -> None:
    assert name_of(definition_of("abc")) == "abc"
    found = decode(Definition, definition_of("abc"))
    assert set(found.metadata) == {digest_of(op) for op in found.ops}  # which clients insist on


def test_an_input_stands_where_a_context_names_it() -> None:
    results = Results()
    name = results.add(GIVEN)
    linked = results.linked(
        {"context:base": "input:context:base", "context:other": "docker-image://x", "filename": "Dockerfile"},
        {"context:base": definition_of(name)},
    )
    value = linked.attributes["context:base"]
    assert linked.given == {value: GIVEN}
    assert linked.attributes["context:other"] == "docker-image://x"


def test_a_build_argument_does_not_become_the_name_of_a_result() -> None:
    results = Results()
    name = results.add(GIVEN)
    said = {"context:base": "input:base", "build-arg:X": "input:base", "label:y": "input:base"}
    linked = results.linked(said, {"base": definition_of(name)})
    assert {key for key, value in linked.attributes.items() if name in value} == {"context:base"}


def test_no_dockerfile_can_say_the_name_of_a_result() -> None:
    results = Results()
    assert results.add(GIVEN) != results.add(GIVEN)
    linked = results.linked({"context:b": "input:b"}, {"b": definition_of(results.add(GIVEN))})
    assert len(linked.attributes["context:b"]) > 40
    with pytest.raises(InvalidReference):
        references.parse(linked.attributes["context:b"])
    assert not is_given("input:latest")  # which is an image


def test_a_result_whose_build_is_over_is_not_found() -> None:
    results = Results()
    name = results.add(GIVEN)
    results.remove(name)
    with pytest.raises(GrpcError) as caught:
        results.linked({}, {"context:base": definition_of(name)})
    assert caught.value.status is Code.NOT_FOUND


async def test_a_result_that_comes_when_its_build_has_ended_is_not_given_out() -> None:
    results, job = Results(), BuildJob(request=SolveRequest(ref="a"))
    frontend = Frontend(service=Any, sessions=Any, contexts=Any, fetching=Any, spool=Any, results=results)  # type: ignore[arg-type]
    solved: Any = SimpleNamespace(
        platforms=[SimpleNamespace(built=SimpleNamespace(image=GIVEN.image, filesystem=GIVEN.filesystem))], have=have
    )
    frontend._result(job, "result0", solved)
    assert len(results._known) == 1
    await job.end()
    with pytest.raises(GrpcError) as caught:
        frontend._result(job, "result0", solved)
    assert caught.value.status is Code.CANCELLED
    assert results._known == {}


SOURCE = encode(Op(source=SourceOp(identifier="docker-image://docker.io/library/busybox:latest")))
OURS = encode(Op(source=SourceOp(identifier="corten-result://x")))


@pytest.mark.parametrize(
    "ops",
    [
        [],
        [OURS],
        [SOURCE, encode(Op(inputs=[Input(digest=digest_of(SOURCE))]))],
        [OURS, encode(Op(inputs=[Input(digest=digest_of(SOURCE))]))],
        [OURS, encode(Op(inputs=[Input(digest=digest_of(OURS), index=1)]))],
        [OURS, encode(Op(inputs=[Input(digest=digest_of(OURS))] * 2))],
        [OURS, encode(Op())],
        [OURS, SOURCE, encode(Op(inputs=[Input(digest=digest_of(OURS))]))],
    ],
)
def test_other_graphs_are_refused(ops: list[bytes]) -> None:
    with pytest.raises(GrpcError, match="raw LLB"):
        name_of(encode(Definition(ops=ops)))


@given(st.binary(max_size=200))
def test_any_bytes_are_no_result(raw: bytes) -> None:
    with pytest.raises((GrpcError, InvalidArgument)):
        name_of(raw)


def test_an_error_says_what_to_do() -> None:
    with pytest.raises(CortenError, match="only results that it has given out"):
        name_of(encode(Definition(ops=[SOURCE])))
