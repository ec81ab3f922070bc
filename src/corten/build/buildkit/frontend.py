"""BuildKit's frontend `dockerfile.v0`, built in: a Dockerfile built, or a question about it answered. Daemon's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec

from corten.build.buildkit.attributes import CALL, LINT, Asked, asked
from corten.build.buildkit.jobs import BuildJob
from corten.build.buildkit.linked import Results, definition_of
from corten.build.buildkit.messages.gateway import Ref, RefMap, Result
from corten.build.buildkit.sessions import Sessions
from corten.build.buildkit.solving import Solving, Told
from corten.build.calls.results import CALLS
from corten.build.dockerfile.error import DockerfileError
from corten.build.fetching import Fetching
from corten.build.given import Given
from corten.build.options import BuildOptions
from corten.build.service import BuildService, Job
from corten.build.service import Result as Solved
from corten.build.session.client import SessionClient
from corten.build.session.contexts import KeptContexts
from corten.build.session.offers import SessionOffers
from corten.build.session.source import SessionFiles, SessionSource
from corten.build.session.stores import SessionDirectories
from corten.build.sources.remote import RemoteSource, keeps_git_dir
from corten.build.sources.source import BuildSource
from corten.build.status.face import StatusFace
from corten.engine.images.progress import Progress
from corten.engine.images.spool import Spool
from corten.lib import codec
from corten.lib.disk_full import words
from corten.lib.grpc.status import Code, GrpcError
from corten.spec.docker.lint import BuildError, LintResults, location

FRONTEND = "dockerfile.v0"
_VERSION = b"1.0.0"
_DESCRIBE = "frontend.subrequests.describe"
Answer = Callable[[BuildJob, Asked, Mapping[str, Given]], Awaitable[dict[str, bytes]]]


class Frontend:
    """One a daemon."""

    def __init__(
        self,
        *,
        service: BuildService,
        sessions: Sessions,
        contexts: KeptContexts,
        fetching: Fetching,
        spool: Spool,
        results: Results,
    ) -> None:
        self._results = results
        self._fetching = fetching
        self._service = service
        self._sessions = sessions
        self._contexts = contexts
        self._spool = spool
        self._answers: dict[str, Answer] = {LINT: self._lint, _DESCRIBE: self._describe}
        self._answers |= {f"{CALL}{name}": self._call for name in CALLS}

    async def solve(self, job: BuildJob, attributes: Mapping[str, str], inputs: Mapping[str, bytes]) -> Result:
        """Build, or answer. What is built stays until the job's end. Raises GrpcError, InvalidArgument."""
        linked = self._results.linked(attributes, inputs)
        wanted = asked(linked.attributes, job.request)
        if wanted.call:
            answer = self._answers.get(wanted.call)
            if answer is None:
                raise GrpcError(Code.UNKNOWN, f"unsupported request {wanted.call[:64]}")
            return Result(metadata=await answer(job, wanted, linked.given))
        face = self._face(job, wanted)
        solving = await self._solving(job, wanted, face, linked.given)
        name = job.add(solving)
        return self._result(job, name, await solving.build())

    def _result(self, job: BuildJob, name: str, solved: Solved) -> Result:
        """The result, which is given out until the build is over. Raises GrpcError when it is already."""
        if job.is_over:  # while the last step ended: nobody would take the result back
            raise GrpcError(Code.CANCELLED, "the build is over")
        given = [
            Given(image=one.built.image, filesystem=one.built.filesystem, have=solved.have) for one in solved.platforms
        ]
        names = [self._results.add(one) for one in given]
        for one in names:
            job.at_end.callback(self._results.remove, one)
        return _result(name, solved, names)

    @staticmethod
    def _face(job: BuildJob, wanted: Asked) -> StatusFace:
        options = wanted.options
        return StatusFace(
            job.board, filename=options.dockerfile, several="," in options.platform, warns=not wanted.call
        )

    async def _solving(self, job: BuildJob, wanted: Asked, face: StatusFace, given: Mapping[str, Given]) -> Solving:
        client = SessionClient(await self._sessions.get(job.request.session))
        offers = SessionOffers(client)

        @asynccontextmanager
        async def bring(progress: Progress, told: Told) -> AsyncIterator[BuildSource]:
            source = SessionSource(
                client, wanted.files, contexts=self._contexts, spool=self._spool, progress=progress, told=told
            )
            try:
                if not wanted.options.remote:
                    yield source
                    return
                remote = await self._remote(wanted, source, offers, progress)
                try:
                    yield remote
                finally:
                    await remote.close()
            finally:
                await source.close()

        def work(source: BuildSource) -> Job:
            directories = SessionDirectories(client)
            return Job(
                options=wanted.options,
                source=source,
                offers=offers,
                face=face,
                directories=directories,
                given=given,
            )

        return Solving(self._service, face, work, bring)

    async def _remote(
        self, wanted: Asked, source: SessionSource, offers: SessionOffers, progress: Progress
    ) -> RemoteSource:
        """The source of a build whose context is elsewhere; named ones may be the client's."""
        return RemoteSource(
            wanted.options.remote,
            wanted.options.dockerfile,
            fetching=self._fetching,
            spool=self._spool,
            progress=progress,
            offers=offers,
            keeps_git_dir=keeps_git_dir(wanted.options.build_args),
            text=await source.dockerfile() if wanted.sends_dockerfile else None,
            others=source,
        )

    async def image(self, job: BuildJob, name: str, platform: str, *, pull: bool) -> tuple[str, bytes]:
        """What an image's name means, and the image's configuration. Raises GrpcError, InvalidArgument."""
        wanted = Asked(options=BuildOptions(pull=pull, platform=platform), files=SessionFiles())
        solving = await self._solving(job, wanted, self._face(job, wanted), {})
        job.add(solving)
        return await solving.call(lambda work: self._service.image(work, name, platform))

    # -- questions

    async def _lint(self, job: BuildJob, wanted: Asked, given: Mapping[str, Given]) -> dict[str, bytes]:
        face = self._face(job, wanted)

        async def check(work: Job) -> LintResults:
            try:
                await self._service.check(work)
            except DockerfileError as error:
                if face.source is None:
                    raise
                place = location(error.lines) if error.lines[0] else None
                wrong = BuildError(message=words(error), location=place)
                return LintResults(sources=[face.source], warnings=face.findings, build_error=wrong)
            return LintResults(sources=[face.source] if face.source else [], warnings=face.findings)

        solving = await self._solving(job, wanted, face, given)
        job.add(solving)
        results = await solving.call(check)
        is_fine = not results.warnings and results.build_error is None
        return {
            "result.json": msgspec.json.format(codec.encode(results), indent=2),
            "result.txt": _lint_text(results).encode(),
            "result.statuscode": b"0" if is_fine else b"1",
            "version": _VERSION,
        }

    async def _call(self, job: BuildJob, wanted: Asked, given: Mapping[str, Given]) -> dict[str, bytes]:
        solving = await self._solving(job, wanted, self._face(job, wanted), given)
        job.add(solving)
        found = await solving.call(self._service.call)
        return {name: text.encode() for name, text in found.items()}

    async def _describe(
        self,
        job: BuildJob,  # noqa: ARG002 - the form of an answer
        wanted: Asked,  # noqa: ARG002
        given: Mapping[str, Given],  # noqa: ARG002
    ) -> dict[str, bytes]:
        requests = [{"name": name, "version": _VERSION.decode(), "type": "rpc"} for name in sorted(self._answers)]
        text = "".join(f"{request['name']}\n" for request in requests)
        return {"result.json": codec.encode(requests), "result.txt": text.encode(), "version": _VERSION}


def _result(name: str, solved: Solved, names: Sequence[str]) -> Result:
    """What was built, by the platforms; `names` are those that other builds may have it by."""
    metadata: dict[str, bytes] = {}
    several = len(solved.platforms) > 1
    refs: dict[str, Ref] = {}
    listed = []
    for one, given_out in zip(solved.platforms, names, strict=True):
        platform = one.built.image.platform
        text = str(platform)
        refs[text] = Ref(id=f"{name}/{text}", definition=definition_of(given_out))
        metadata[f"containerimage.config/{text}" if several else "containerimage.config"] = codec.encode(
            one.built.image
        )
        parts = {"architecture": platform.architecture, "os": platform.os, "variant": platform.variant}
        listed.append({"ID": text, "Platform": {key: value for key, value in parts.items() if value}})
    metadata["refs.platforms"] = codec.encode({"Platforms": listed})
    if several:
        return Result(refs=RefMap(refs=refs), metadata=metadata)
    return Result(ref=next(iter(refs.values())), metadata=metadata)


def _lint_text(results: LintResults) -> str:
    """What was found, a paragraph each; clients that know the JSON show it in their own way."""
    source = results.sources[0].filename if results.sources else "Dockerfile"
    parts = []
    for warning in results.warnings:
        lines = warning.location.ranges
        place = f"{source}:{lines[0].start.line}" if lines else source
        parts.append(f"\nWARNING: {warning.rule_name} - {warning.url}\n{warning.detail}\n{place}\n")
    if results.build_error is not None:
        parts.append(f"\nERROR: {results.build_error.message}\n")
    return "".join(parts)
