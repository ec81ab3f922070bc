"""What BuildKit's clients see of a build: names, lives of steps, output, warnings; for readers that come late, too."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.build.planned import Images, plan

from corten.build.operations import Run
from corten.build.ops.run import StepFailed
from corten.build.ops.worker import keying_of
from corten.build.solver import Found, Kind, Solver
from corten.build.status.board import StatusBoard
from corten.build.status.face import StatusFace, _Clip
from corten.build.status.names import digest_of, names_of
from corten.errors import NotFound
from corten.spec.docker.lint import LintWarning, SourceFile, location
from corten.spec.docker.progress import layer_progress, status
from corten.spec.docker.solve_status import VertexWarning
from corten.spec.oci_image import ImageConfig

BUSYBOX = Images({"busybox": ImageConfig(), "alpine:3": ImageConfig()})
TWO_RUNS = plan("FROM busybox\nRUN one\nRUN two", BUSYBOX)
A_COPY = plan("FROM busybox\nCOPY a /a", BUSYBOX)
A_DOWNLOAD = plan("FROM busybox\nADD http://x/y /", BUSYBOX)
A_LINK = plan("FROM busybox\nRUN x\nCOPY --link a /a", BUSYBOX)


def board():
    moments = iter(range(1, 100_000))
    return StatusBoard(lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(moments)))


def seen(of):
    message, _, _ = of.since(0)
    return {vertex.name: vertex for vertex in message.vertexes}


def test_steps_are_called_as_buildkit_calls_them():
    names = names_of(plan("FROM busybox\nENV A=b\nWORKDIR /w\nCOPY a /a\nRUN make\nCMD x", BUSYBOX)).values()
    assert sorted(names) == [
        "[1/4] FROM docker.io/library/busybox:latest",
        "[2/4] WORKDIR /w",
        "[3/4] COPY a /a",
        "[4/4] RUN make",
        "[internal] load build context",
    ]


def test_steps_of_stages_have_the_stages_name_and_numbers_of_one_width():
    text = "FROM busybox AS Tools\nRUN one\nFROM alpine:3\nCOPY --from=tools /x /y\n" + "RUN x\n" * 8
    names = list(names_of(plan(text, BUSYBOX)).values())
    assert "[tools 1/2] FROM docker.io/library/busybox:latest" in names
    assert "[stage-1  2/10] COPY --from=tools /x /y" in names
    assert "[stage-1 10/10] RUN x" in names


def test_a_stage_on_another_stage_or_on_nothing_does_not_count_its_from():
    names = names_of(plan("FROM scratch AS a\nCOPY x /\nFROM a\nCOPY y /", BUSYBOX)).values()
    assert {"[a 1/1] COPY x /", "[stage-1 1/1] COPY y /"} <= set(names)


def test_a_target_that_is_the_files_first_stage_still_has_its_name():
    names = names_of(plan("FROM busybox AS a\nRUN x\nFROM a", BUSYBOX, target="a")).values()
    assert "[a 2/2] RUN x" in names


def test_an_image_that_files_are_copied_of_is_no_step_of_a_stage():
    names = names_of(plan("FROM busybox\nCOPY --from=alpine:3 /x /", BUSYBOX)).values()
    assert "FROM docker.io/library/alpine:3" in names
    assert "[2/2] COPY --from=alpine:3 /x /" in names


class Build:
    """A plan, solved by hand; the cache has what `cached` says."""

    def __init__(self, cached=(), planned=TWO_RUNS):
        self.board = board()
        self.face = StatusFace(self.board)
        self.plan = planned
        self.solver = Solver([self.plan.target.steps[-1].vertex], keying_of)
        self.watcher = self.face.watch(self.plan, self.solver, lambda stage, step: "")
        self.cached = cached
        self.digesting = []  # how steps were told that were digested

    async def go_on(self, *, until=""):
        """Do what there is to do until a command is to run; returns its vertex."""
        todo = self.solver.begin()
        while todo:
            await self.watcher.changed()
            action = todo.pop(0)
            if action.kind is Kind.LOOK_UP:
                name = names_of(self.plan).get(action.vertex, "")
                hit = Found("key " + name, object()) if any(part in name for part in self.cached) else None
                todo += self.solver.looked_up(action.vertex, hit)
                continue
            if action.kind is Kind.DIGEST:
                self.digesting.append(seen(self.board)[names_of(self.plan)[action.vertex]])
                todo += self.solver.digested(action.vertex, "content")
                continue
            self.watcher.begun(action.vertex)
            if until and isinstance(action.vertex.operation, Run) and until in action.vertex.operation.args[-1]:
                return action.vertex
            todo += self.solver.executed(action.vertex, object(), "")
        await self.watcher.changed()
        return None


async def test_all_steps_are_announced_at_once():
    build = Build()
    found = seen(build.board)
    assert [found[name].started for name in found if name.startswith("[2")] == [None]
    assert found["[3/3] RUN two"].inputs == [found["[2/3] RUN one"].digest]
    assert all(vertex.digest.startswith("sha256:") and len(vertex.digest) == 71 for vertex in found.values())


async def test_a_step_runs_and_is_over():
    build = Build()
    await build.go_on(until="two")
    found = seen(build.board)
    assert found["[2/3] RUN one"].completed
    assert not found["[2/3] RUN one"].cached
    assert found["[3/3] RUN two"].started
    assert not found["[3/3] RUN two"].completed


async def test_what_the_cache_has_and_what_is_below_it_is_cached():
    build = Build(cached=["RUN two"])
    assert await build.go_on() is None
    found = seen(build.board)
    for name in ("[1/3] FROM docker.io/library/busybox:latest", "[2/3] RUN one", "[3/3] RUN two"):
        assert (found[name].cached, bool(found[name].completed)) == (True, True)


async def test_a_copy_that_is_digested_has_not_begun_and_one_of_the_cache_takes_no_time():
    for cached in ((), ("COPY a",)):
        build = Build(cached, A_COPY)
        assert await build.go_on() is None
        assert [vertex.started for vertex in build.digesting] == [None]
        copy = seen(build.board)["[2/2] COPY a /a"]
        assert copy.cached is bool(cached)
        assert (copy.started == copy.completed) is bool(cached)


async def test_an_origin_that_is_asked_has_begun():
    build = Build(planned=A_DOWNLOAD)
    assert await build.go_on() is None
    assert [bool(vertex.started) for vertex in build.digesting if vertex.name == "http://x/y"] == [True]


async def test_a_linked_copy_is_one_step_and_its_own():
    names = names_of(A_LINK)
    assert sorted(names.values()) == [
        "[1/3] FROM docker.io/library/busybox:latest", "[2/3] RUN x", "[3/3] COPY --link a /a",
        "[internal] load build context",
    ]  # fmt: skip
    build = Build(("COPY --link",), A_LINK)
    assert await build.go_on() is None
    assert [vertex.cached for name, vertex in seen(build.board).items() if "--link" in name] == [True]


async def test_a_failed_command_is_told_in_buildkits_words_and_others_are_cancelled():
    build = Build()
    failing = await build.go_on(until="one")
    with build.face.activity("something else") as _:
        build.solver.failed(failing)
        await build.watcher.changed()
        failure = build.face.failed(StepFailed("The command ...", 3))
    found = seen(build.board)
    assert failure.digest == digest_of(failing) == found["[2/3] RUN one"].digest
    assert found["[2/3] RUN one"].error == 'process "/bin/sh -c one" did not complete successfully: exit code: 3'
    assert found["something else"].error == "context canceled"
    assert found["[3/3] RUN two"].started is None


async def test_output_is_clipped_as_buildkit_does():
    clip = _Clip(began=0.0)
    assert len(clip.clipped(bytes(200 << 10), 0.1)) == 200 << 10
    assert clip.clipped(b"x", 0.5) == b"\n[output clipped, log limit 200KiB/s reached]\n"
    assert clip.clipped(b"x", 0.6) == b""
    assert clip.clipped(b"x", 1.5) == b"x"
    assert clip.clipped(bytes(3 << 20), 1000).endswith(b"\n[output clipped, log limit 2MiB reached]\n")
    assert clip.clipped(b"x", 2000) == b""


async def test_output_is_kept_for_late_readers_and_bounded():
    of = board()
    of.announce("sha256:a", "a")
    for _ in range(300):
        of.output("sha256:a", 1, bytes(100_000))
    number, total, is_all = 0, 0, False
    while not is_all:
        message, number, is_all = of.since(number)
        size = sum(len(log.data) for log in message.logs)
        assert size < 2 << 20
        total += size
    assert 15 << 20 < total <= 16 << 20
    assert of.since(number)[0] is None


async def test_output_comes_before_the_end_of_its_step():
    of = board()
    of.announce("sha256:a", "a")
    of.started("sha256:a")
    of.output("sha256:a", 1, bytes(1 << 20))
    of.output("sha256:a", 2, b"last")
    of.completed("sha256:a")
    first, number, is_all = of.since(0)
    assert (is_all, first.vertexes[0].completed) == (False, None)
    second, _, is_all = of.since(number)
    assert (is_all, bool(second.vertexes[0].completed), second.logs[0].data) == (True, True, b"last")


async def test_readers_get_all_however_late_they_come_and_end_with_the_build():
    of = board()

    async def read():
        found = {}
        async for message in of.messages():
            found |= {vertex.digest: vertex for vertex in message.vertexes}
        return found

    early = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    of.announce("sha256:a", "a")
    of.started("sha256:a")
    middle = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    of.completed("sha256:a")
    of.end()
    async with asyncio.timeout(20):
        for reader in (early, middle, asyncio.ensure_future(read())):
            assert (await reader)["sha256:a"].completed


async def test_lines_of_a_step_end_with_it_and_are_bounded():
    of = board()
    of.announce("sha256:a", "a")
    for number in range(5000):
        of.progress("sha256:a", f"line {number}", current=1, total=2)
    of.completed("sha256:a")
    message, _, _ = of.since(0)
    assert len(message.statuses) == 4096
    assert all(line.completed and line.started for line in message.statuses)


async def test_an_image_that_is_looked_for_is_a_step_and_its_failure_names_the_line():
    of = board()
    face = StatusFace(of)
    face.begun(SourceFile(filename="Dockerfile", data=b"FROM scratch\nFROM nothere AS x\n"))
    with face.resolving("busybox"):
        pass
    error = NotFound("no such image")
    with pytest.raises(NotFound), face.resolving("nothere"):
        raise error
    failure = face.failed(error)
    assert (
        failure.text == "nothere: failed to resolve source metadata for docker.io/library/nothere:latest: no such image"
    )
    assert failure.lines == (2, 2)
    found = seen(of)
    assert found["[internal] load metadata for docker.io/library/busybox:latest"].error == ""
    assert found["[internal] load metadata for docker.io/library/nothere:latest"].error == "no such image"


async def test_a_pull_has_a_line_for_each_layer():
    of = board()
    face = StatusFace(of)
    face.pulling(status("Pulling from library/busybox", item="latest"))
    face.pulling(layer_progress("abc", "Downloading", 1, 10))
    face.pulling(layer_progress("abc", "Pull complete", 10, 10))
    face.failed(OSError(28, "No space left on device"))
    message, _, _ = of.since(0)
    assert [line.id for line in message.statuses] == ["abc"]
    assert message.vertexes[0].error


async def test_findings_are_warnings_with_their_lines():
    of = board()
    source = SourceFile(filename="Dockerfile", data=b"FROM x\n")
    finding = LintWarning(
        rule_name="StageNameCasing",
        description="about",
        url="https://x",
        detail="name it so",
        location=location((1, 1)),
    )
    StatusFace(of).checked([finding], source)
    message, _, _ = of.since(0)
    (warning,) = message.warnings
    assert (warning.short, warning.detail, warning.url) == (
        b"StageNameCasing: name it so (line 1)",
        [b"about"],
        "https://x",
    )
    assert (warning.source_info.data, warning.range[0].start.line, of.warnings) == (b"FROM x\n", 1, 1)


async def test_warnings_about_a_large_file_are_bounded():
    """Each has the file with it, and clients take a message of 16 MiB at most."""
    of = board()
    source = SourceFile(filename="Dockerfile", data=b"#" * (1 << 20))
    finding = LintWarning(rule_name="R", description="about", url="", detail="so", location=location((1, 1)))
    StatusFace(of).checked([finding] * 50, source)
    of.warn(VertexWarning(short=b"x" * (8 << 20)))
    message, _, _ = of.since(0)
    sizes = [len(one.source_info.data) if one.source_info else 0 for one in message.warnings]
    assert sum(sizes) + sum(len(one.short) for one in message.warnings) <= 4 << 20
    assert (len(sizes), sizes[0], sizes[-1]) == (50, 1 << 20, 0)


async def test_output_in_many_small_pieces_is_put_together():
    of = board()
    for number in range(5000):
        of.output("sha256:a", 1 + number // 4000, b"%04d" % number)
    message, _, is_all = of.since(0)
    assert is_all
    assert [(log.stream, len(log.data)) for log in message.logs] == [(1, 16000), (2, 4000)]
    assert message.logs[0].data.startswith(b"00000001")


def test_arguments_that_nobody_uses_are_a_warning():
    of = board()
    result = plan("FROM busybox", BUSYBOX, build_args={"FOO": "x"})
    StatusFace(of).watch(result, Solver([result.target.steps[-1].vertex], keying_of), lambda stage, step: "")
    message, _, _ = of.since(0)
    assert [w.short for w in message.warnings] == [b"One or more build-args [FOO] were not consumed"]
