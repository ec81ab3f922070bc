"""Pulling images: a tag, a digest or all tags, with Docker's progress messages and errors. Daemon's loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from corten.engine.events import Events
from corten.engine.images.arrival import PULL_WORDS, QUIET_WORDS, Arrivals, ChosenImage, choose
from corten.engine.images.companions import with_attestations
from corten.engine.images.hello_world import hello_world, stands_in_for
from corten.engine.images.library import ImageLibrary
from corten.engine.images.origins import BlobOrigins
from corten.engine.images.progress import Progress, run_cancellable
from corten.engine.images.sources import BuiltinSource, RegistrySource, SourceOf, source_at
from corten.errors import CortenError, NotFound
from corten.lib import blocking
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient, resolve
from corten.registry.credentials import Credentials
from corten.registry.errors import RegistryError, RegistryRefused, RegistryUnreachable
from corten.registry.fetch import RawManifest, head_manifest, list_tags
from corten.registry.session import Session
from corten.registry.timings import Timings
from corten.spec.digest import Digest
from corten.spec.docker.progress import status
from corten.spec.oci_image import MANIFEST_LIMIT
from corten.spec.platform import Platform, host_platform
from corten.spec.reference import DEFAULT_DOMAIN, Reference

# the built-in image must not make its user wait for a network that is not there
_BUILTIN_TIMINGS = Timings(connect_s=2.0, stall_s=4.0, attempts=1)


class PullRefused(NotFound):
    """The registry does not have the image, or not for these credentials."""

    code = "pull-refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteImage:
    """An image that a registry has: its documents, and a way to its blobs at any later time."""

    reference: Reference
    top: RawManifest
    chosen: ChosenImage
    source: SourceOf
    notice: str = ""


class Puller:
    """The use case behind `docker pull`; one a daemon."""

    def __init__(
        self,
        *,
        library: ImageLibrary,
        arrivals: Arrivals,
        client: RegistryClient,
        events: Events,
        origins: BlobOrigins,
        builtin_wait_s: float = 5.0,
    ) -> None:
        self._library = library
        self._arrivals = arrivals
        self._client = client
        self._events = events
        self._origins = origins
        self._builtin_wait_s = builtin_wait_s

    async def pull(
        self, reference: Reference, platform: Platform | None, credentials: Credentials, progress: Progress
    ) -> None:
        """Pull `reference`; all tags of the repository when it has neither tag nor digest."""
        if not reference.is_name_only:
            await self._pull_one(reference, platform, credentials, progress)
            return
        sessions = self._client.sessions(reference, credentials=credentials, cancel=progress.cancel)
        try:
            tags = await run_cancellable(progress, "net", list_tags, sessions[-1])
        except RegistryError as error:
            raise worded(error, reference) from error
        for tag in tags:
            await self._pull_one(reference.with_tag(tag), platform, credentials, progress)

    async def _pull_one(
        self, reference: Reference, platform: Platform | None, credentials: Credentials, progress: Progress
    ) -> None:
        await self.bring(await self.resolve(reference, platform, credentials, progress), progress)

    async def resolve(
        self, reference: Reference, platform: Platform | None, credentials: Credentials, progress: Progress
    ) -> RemoteImage:
        """What `reference` (with a tag or a digest) means at its registry: documents alone, of which none is stored.

        Raises PullRefused, NoMatchingPlatform, RegistryError, InvalidArgument.
        """
        source, top, notice = await self._find(reference, credentials, progress)
        chosen = await run_cancellable(
            progress,
            "net",
            choose,
            source(progress.cancel),
            top,
            platform or host_platform(),
            given=reference.familiar,
            explicit=platform is not None,
        )
        if isinstance(source(progress.cancel), RegistrySource):
            await blocking.run(self._origins.note, [layer.digest for layer in chosen.manifest.layers], reference)
        return RemoteImage(reference=reference, top=top, chosen=chosen, source=source, notice=notice)

    async def bring(self, remote: RemoteImage, progress: Progress) -> None:
        """Have an image here that was found, with its names. Raises RegistryError, DataLoss, OSError."""
        reference, chosen, source = remote.reference, remote.chosen, remote.source(progress.cancel)
        progress.say(status(f"Pulling from {reference.path}", item=reference.digest or reference.tag))
        if remote.notice:
            progress.say(status(remote.notice))
        names = [f"{reference.name}@{remote.top.digest}"]
        if reference.tag and not reference.digest:
            names.append(str(reference))
        known = self._library.catalog.get(chosen.id)
        is_new = known is None or names[-1] not in known.references
        if known is None or any(name not in known.references for name in names):
            # an image that is here gets the name without a word about its layers
            chosen = await run_cancellable(progress, "net", with_attestations, source, chosen)
            await self._arrivals.bring(chosen, source, progress, names, PULL_WORDS if known is None else QUIET_WORDS)
        if isinstance(source, RegistrySource):
            blobs = [chosen.manifest.config.digest, *(layer.digest for layer in chosen.manifest.layers)]
            await blocking.run(self._origins.note, blobs, reference)
        outcome = "Downloaded newer image for" if is_new else "Image is up to date for"
        progress.say(status(f"Digest: {remote.top.digest}"))
        progress.say(status(f"Status: {outcome} {reference.familiar}"))
        labels = chosen.image.defaults.labels or {}
        self._events.publish("image", "pull", reference.familiar, {**labels, "name": reference.familiar_name})

    async def _find(
        self, reference: Reference, credentials: Credentials, progress: Progress
    ) -> tuple[SourceOf, RawManifest, str]:
        """Where the image is, its manifest or index, and what to tell of that."""
        builtin = stands_in_for(reference)
        try:
            if builtin:
                # not awaited beyond its time: a name server that does not answer cannot be interrupted
                work = blocking.run(self._ask, reference, credentials, Cancel(), _BUILTIN_TIMINGS, pool="net")
                manifest, sessions = await asyncio.wait_for(work, self._builtin_wait_s)
                sessions = self._client.sessions(reference, credentials=credentials, cancel=progress.cancel)
            else:
                manifest, sessions = await run_cancellable(
                    progress, "net", self._ask, reference, credentials, progress.cancel, None
                )
        except (RegistryError, TimeoutError) as error:
            if builtin and _is_away(error):
                image = hello_world()
                notice = "Docker Hub cannot be reached: using the hello-world image that comes with Corten"
                return lambda _cancel: BuiltinSource(image), image.index, notice
            if isinstance(error, RegistryError):
                raise worded(error, reference) from error
            raise
        return source_at(self._client, reference, credentials, sessions), manifest, ""

    def _ask(
        self, reference: Reference, credentials: Credentials, cancel: Cancel, timings: Timings | None
    ) -> tuple[RawManifest, list[Session]]:
        sessions = self._client.sessions(reference, credentials=credentials, cancel=cancel, timings=timings)
        here = self._unchanged(reference, sessions)
        if here is not None:
            return here, sessions
        return resolve(sessions, reference.digest or reference.tag)

    def _unchanged(self, reference: Reference, sessions: list[Session]) -> RawManifest | None:
        """What is here already under the digest that the registry names: asking for that does not count as a pull."""
        entry = self._library.catalog.named(reference)
        if entry is None or reference.digest is not None or not sessions:
            return None
        try:
            found = head_manifest(sessions[0], reference.tag)
        except RegistryError:
            return None
        if found is None or self._library.blob_size(found.digest) != found.size or found.size > MANIFEST_LIMIT:
            return None
        raw = self._library.read_blob(found.digest, MANIFEST_LIMIT)
        return RawManifest(found.media_type, Digest(found.digest), raw)


def _is_away(error: Exception) -> bool:
    """Whether the error means that nobody could be asked: no way there, or a gateway that says so."""
    if isinstance(error, RegistryRefused):
        return error.status >= 500 or error.status == 407
    return isinstance(error, (RegistryUnreachable, TimeoutError))


def worded(error: RegistryError, reference: Reference) -> CortenError:
    """A registry's refusal of a pull, in Docker's words."""
    if not isinstance(error, RegistryRefused):
        return error
    if error.reason == "DENIED":
        return PullRefused(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            f"'docker login': {error.message}"
        )
    if error.reason == "UNAUTHORIZED" and reference.domain == DEFAULT_DOMAIN and "incorrect" not in error.message:
        # Docker Hub answers so for repositories that are not there, too
        return PullRefused(
            f"pull access denied for {reference.familiar_name}, repository does not exist or may require "
            "'docker login': denied: requested access to the resource is denied"
        )
    if error.reason == "MANIFEST_UNKNOWN" or (error.status == 404 and not error.reason):
        cause = error.message if error.reason else "manifest unknown: manifest unknown"
        return PullRefused(f"manifest for {reference.familiar} not found: {cause}")
    if error.reason == "NAME_UNKNOWN":
        return PullRefused(f"repository {reference.familiar_name} not found: {error.message}")
    return error
