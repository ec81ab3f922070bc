"""BuildKit's words, as a build's options; what is told in them: errors, the cache, status messages."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.build.buildkit import cache_view
from corten.build.buildkit.attributes import asked
from corten.build.buildkit.failures import failure
from corten.build.buildkit.messages.control import CacheOptions, PruneRequest, SolveRequest
from corten.build.buildkit.messages.gateway import WarnRequest
from corten.build.buildkit.messages.types import Attributed, Position, Range, SourceInfo
from corten.build.buildkit.status_messages import status_response, warning_of
from corten.build.buildkit.worker import caps, worker
from corten.build.dockerfile.error import DockerfileError
from corten.build.exporters.request import CacheOnly, FilesExport, ImageExport
from corten.build.ops.run import StepFailed
from corten.build.status.face import Failure
from corten.errors import CortenError, InvalidArgument
from corten.errors import NotImplemented as NotOffered
from corten.lib.grpc.status import Code, GrpcError, trailers_of
from corten.spec.docker.build import BuildCache
from corten.spec.docker.lint import SourceFile
from corten.spec.docker.solve_status import SolveStatus, SolveVertex, VertexLog, VertexStatus

MOBY = SolveRequest(exporters=[Attributed(type="moby", attrs={"name": "docker.io/library/a:1,b:2"})])


def options(**attributes):
    return asked({name.replace("__", "-"): value for name, value in attributes.items()}, MOBY).options


def test_what_docker_build_says():
    found = asked(
        {
            "filename": "dir/D",
            "target": "t",
            "build-arg:A": "b",
            "build-arg:E": "",
            "label:l": "m",
            "platform": "linux/amd64",
            "no-cache": "",
            "image-resolve-mode": "pull",
            "add-hosts": "h=1.2.3.4,other=::1",
            "force-network-mode": "none",
            "ulimit": "nofile=10:20,core=5",
            "shm-size": "1024",
            "cgroup-parent": "/x",
            "memory": "64",
        },
        MOBY,
    )
    wanted = found.options
    assert (wanted.dockerfile, wanted.target, wanted.platform) == ("dir/D", "t", "linux/amd64")
    assert (wanted.build_args, wanted.labels) == ({"A": "b", "E": ""}, {"l": "m"})
    assert (wanted.use_cache, wanted.no_cache_stages, wanted.pull) == (False, (), True)
    assert wanted.host.extra_hosts == ["h:1.2.3.4", "other:::1"]
    assert (wanted.host.network_mode, wanted.host.shm_size, wanted.host.memory) == ("none", 1024, 64)
    assert [(u.name, u.soft, u.hard) for u in wanted.host.ulimits] == [("nofile", 10, 20), ("core", 5, 5)]
    assert found.files.filename == "dir/D"
    assert [str(name) for name in wanted.exports[0].names] == ["docker.io/library/a:1", "docker.io/library/b:2"]


def test_nothing_said_is_a_build_with_the_cache():
    wanted = asked({}, SolveRequest())
    assert (wanted.options.use_cache, wanted.options.pull, wanted.call) == (True, False, "")
    assert wanted.options.exports == (CacheOnly(),)
    assert (wanted.files.dockerfile_dir, wanted.files.context_dir, wanted.files.filename) == (
        "dockerfile", "context", "Dockerfile",
    )  # fmt: skip


def test_an_old_exporter_counts_where_there_is_no_new_one():
    old = SolveRequest(old_exporter="local", old_exporter_attrs={"dest": "x"})
    assert isinstance(asked({}, old).options.exports[0], FilesExport)
    both = SolveRequest(old_exporter="local", exporters=[Attributed(type="moby", attrs={"load": "true"})])
    assert isinstance(asked({}, both).options.exports[0], ImageExport)


def test_contexts_of_the_client_and_of_elsewhere():
    found = asked({"context:a": "local:dir", "context:b": "docker-image://x"}, MOBY)
    assert found.options.contexts == {"a": "local:dir", "b": "docker-image://x"}
    assert found.files.locals == {"a": "dir"}
    uploaded = asked({"context": "http://buildkit-session/abc"}, MOBY)
    assert (uploaded.options.remote, uploaded.files.upload) == ("", "http://buildkit-session/abc")
    elsewhere = asked({"context": "https://h/x.git"}, MOBY)
    assert (elsewhere.options.remote, elsewhere.files.upload) == ("https://h/x.git", "")


def test_stages_that_are_built_anew():
    assert options(no__cache="a,b").no_cache_stages == ("a", "b")
    assert options(no__cache="a").use_cache


@pytest.mark.parametrize(
    ("exporter", "attrs", "is_said"),
    [("moby", {}, False), ("local", {}, False), ("oci", {}, True), ("image", {"push": "true", "name": "h/x"}, True)],
)
def test_provenance_that_nobody_asked_for_is_only_for_what_leaves(exporter, attrs, is_said):
    request = SolveRequest(exporters=[Attributed(type=exporter, attrs=attrs)])
    given_by_client = {"attest:provenance": "type=provenance,mode=min,inline-only=true"}
    assert asked(given_by_client, request).options.attests.any == is_said
    assert asked({"attest:provenance": "type=provenance,mode=max"}, request).options.attests.any


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"force-network-mode": "other"}, InvalidArgument),
        ({"shm-size": "lots"}, InvalidArgument),
        ({"memory": "9" * 30}, InvalidArgument),
        ({"ulimit": "nofile"}, InvalidArgument),
        ({"ulimit": "\n0"}, InvalidArgument),
        ({"add-hosts": "noaddress"}, InvalidArgument),
        ({"source": "docker/other"}, NotOffered),
        ({"attest:other": "x"}, InvalidArgument),
    ],
)
def test_what_makes_no_sense_is_refused(attributes, error):
    with pytest.raises(error):
        asked(attributes, MOBY)


def test_caches_that_are_not_known_are_refused():
    request = SolveRequest(cache=CacheOptions(exports=[Attributed(type="gha")]))
    with pytest.raises(CortenError):
        asked({}, request)


@given(
    st.dictionaries(
        st.sampled_from(["ulimit", "add-hosts", "platform", "no-cache", "memory", "cache-imports"]), st.text()
    )
)
def test_any_words_are_options_or_an_error(attributes):
    with contextlib.suppress(CortenError):
        asked(attributes, MOBY)


# -- errors

SOURCE = SourceFile(filename="Dockerfile", data=b"FROM x\nRUN y\n")


def details(error):
    return {detail.type_url.rpartition("/")[2]: json.loads(detail.value) for detail in error.details}


def test_an_error_has_the_lines_the_step_and_the_code():
    told = failure(StepFailed("old words", 3), Failure(text="new words", digest="sha256:a", lines=(2, 2)), SOURCE)
    found = details(told)
    assert (told.status, told.message) == (Code.UNKNOWN, "new words")
    assert found["errdefs.Source+json"]["ranges"] == [{"start": {"line": 2}, "end": {"line": 2}}]
    assert base64.b64decode(found["errdefs.Source+json"]["info"]["data"]) == SOURCE.data
    assert found["errdefs.Vertex+json"] == {"digest": "sha256:a"}
    assert found["gatewayapi.ExitMessage+json"] == {"Code": 3}


def test_an_error_without_lines_has_none():
    found = details(failure(DockerfileError("x"), Failure(text="x", digest="", lines=(0, 0)), SOURCE))
    assert set(found) == {"errdefs.Solve+json"}
    own = GrpcError(Code.NOT_FOUND, "theirs")
    assert failure(own, Failure(text="x", digest="", lines=(1, 1)), SOURCE) is own


def test_lines_of_a_large_file_have_room_in_the_trailers():
    source = SourceFile(filename="Dockerfile", data=b"# comment\n" * 300_000)
    told = failure(DockerfileError("x"), Failure(text="x", digest="", lines=(1500, 1501)), source)
    info = details(told)["errdefs.Source+json"]["info"]
    assert base64.b64decode(info["data"]).split(b"\n")[1499] == b"# comment"
    assert sum(len(name) + len(value) for name, value in trailers_of(told)) < 64 << 10
    assert "grpc-status-details-bin" in dict(trailers_of(told))


# -- what is known of the builder


def test_the_cache_is_shown_and_selected():
    rows = [
        BuildCache(id="aa", description="one", size=5, created_at="2026-01-01T00:00:00Z", shared=True),
        BuildCache(id="ab", description="two", type="source.local"),
    ]
    records = cache_view.usage(rows)
    assert (records[0].created_at.seconds, records[1].created_at) == (1767225600, None)
    assert cache_view.selected(records, [""]) == records
    for text, ids in (
        ("id~=aa", ["aa"]),
        ("type==source.local", ["ab"]),
        ("shared", ["aa"]),
        ("description=two", ["ab"]),
    ):
        assert [record.id for record in cache_view.selected(records, [text])] == ids
    for text in ("size>5", "nonsense==1", "id!=aa"):
        with pytest.raises(InvalidArgument):
            cache_view.selected(records, [text])


def test_a_prune_takes_what_buildx_says():
    wish = cache_view.wish(PruneRequest(filter=[""], all=True, keep_duration=5, max_used_space=7), now_ns=100)
    assert (wish.everything, wish.before_ns, wish.keep_bytes, wish.filters) == (True, 95, 7, {})
    assert cache_view.wish(PruneRequest(), now_ns=1).is_whole


def test_caps_are_said_once_each():
    for known in caps():
        assert known
        assert len({cap.id for cap in known}) == len(known)
    record = worker("id", "172.17.0.1", ["linux/arm64/v8"], 10)
    assert (record.platforms[0].architecture, record.gc_policy[0].max_used_space) == ("arm64", 10)


def test_a_status_is_told_whole():
    moment = datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    status = SolveStatus(
        vertexes=[SolveVertex(digest="d", name="n", started=moment, cached=True)],
        statuses=[VertexStatus(id="i", vertex="d", current=1, total=2, completed=moment)],
        logs=[VertexLog(vertex="d", stream=2, data=b"x", timestamp=moment)],
    )
    found = status_response(status)
    assert (found.vertexes[0].started.nanos, found.vertexes[0].completed, found.vertexes[0].cached) == (
        500_000_000,
        None,
        True,
    )
    assert (found.statuses[0].current, found.logs[0].msg, found.logs[0].stream) == (1, b"x", 2)


def test_a_client_is_told_its_own_warning_as_it_said_it():
    lines = Range(start=Position(line=2), end=Position(line=3))
    said = WarnRequest(
        digest="d",
        level=1,
        short=b"s",
        detail=[b"one", b"two"],
        url="https://docs.example/",
        info=SourceInfo(filename="Dockerfile", data=b"FROM a", language="Dockerfile"),
        ranges=[lines, Range(start=Position(line=4))],  # the second says no end, and is left out
    )
    (told,) = status_response(SolveStatus(warnings=[warning_of(said)])).warnings
    assert (told.vertex, told.level, told.short, told.detail, told.url) == ("d", 1, b"s", [b"one", b"two"], said.url)
    assert (told.info, told.ranges) == (said.info, [lines])


def test_a_warning_without_a_place_has_none():
    (told,) = status_response(SolveStatus(warnings=[warning_of(WarnRequest(short=b"s"))])).warnings
    assert (told.short, told.info, told.ranges) == (b"s", None, [])
