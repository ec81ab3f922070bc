"""Images that come and go: pull, push, load, save, import, and what a registry says of a name. Daemon's loop.

Each stream is an async iterator of Docker's progress messages; closing it ends the work behind it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

from corten.engine.events import Events
from corten.engine.images import save
from corten.engine.images.arrival import QUIET_WORDS, Arrivals, Words
from corten.engine.images.artifact import Artifacts
from corten.engine.images.assemble import Assembler
from corten.engine.images.decompress import Readable
from corten.engine.images.library import ImageLibrary
from corten.engine.images.load import ArchivedImage, ArchiveSource, Wish, read_archive
from corten.engine.images.origins import BlobOrigins
from corten.engine.images.progress import Progress, run_cancellable, stream
from corten.engine.images.pull import Puller, RemoteImage, worded
from corten.engine.images.push import Pusher
from corten.engine.images.service import tag_target
from corten.engine.images.sources import SourceOf
from corten.engine.images.spool import Spool
from corten.engine.images.stores import Records
from corten.errors import InvalidArgument
from corten.lib import blocking
from corten.registry.blob import get_small_blob
from corten.registry.cancel import Cancel
from corten.registry.client import RegistryClient, resolve
from corten.registry.credentials import ANONYMOUS, Credentials
from corten.registry.download_url import web_server
from corten.registry.errors import RegistryError
from corten.registry.login import login
from corten.registry.search import search
from corten.spec import oci_image
from corten.spec import reference as references
from corten.spec.digest import is_digest
from corten.spec.docker import image as wire
from corten.spec.docker.progress import ProgressMessage, status, stream_line
from corten.spec.oci_image import CONFIG_LIMIT, Descriptor, ImageConfig, Index, PlatformInfo
from corten.spec.platform import host_platform
from corten.spec.platform import parse as parse_platform
from corten.spec.reference import InvalidReference, Reference

Messages = AsyncGenerator[ProgressMessage, None]
_LOAD_WORDS = Words(
    exists="", found="", waiting="", downloading="", verifying="", downloaded="", extracting="Loading layer",
    complete="", by_diff_id=True,
)  # fmt: skip


class TransferService:
    """Moves images between this engine, registries and archives.

    `spool_dir` holds uploads while they are read; `origins` are records of where blobs came from.
    """

    def __init__(
        self,
        *,
        library: ImageLibrary,
        client: RegistryClient,
        events: Events,
        spool_dir: Path,
        origins: Records,
        max_downloads: int = 3,
        max_uploads: int = 5,
    ) -> None:
        self._library = library
        self._client = client
        self._events = events
        self._spool = Spool(spool_dir)
        self._arrivals = Arrivals(library, max_downloads=max_downloads)
        known = BlobOrigins(origins, library.has_blob)
        self._puller = Puller(library=library, arrivals=self._arrivals, client=client, events=events, origins=known)
        self._pusher = Pusher(library=library, client=client, events=events, origins=known, max_uploads=max_uploads)
        self.artifacts = Artifacts(client=client, library=library, origins=known, max_uploads=max_uploads)
        self.assembler = Assembler(library)

    def limit(self, *, max_downloads: int, max_uploads: int) -> None:
        """How many blobs come and go at once, from now on."""
        self._arrivals.limit(max_downloads)
        self._pusher.limit(max_uploads)
        self.artifacts.limit(max_uploads)

    def pull(self, name: str, tag: str = "", *, platform: str = "", credentials: Credentials = ANONYMOUS) -> Messages:
        """Pull `name` at `tag` (a tag or a digest). Raises InvalidReference at once."""
        reference = pull_target(name, tag)
        wanted = parse_platform(platform) if platform else None
        return stream(lambda progress: self._puller.pull(reference, wanted, credentials, progress))

    async def resolve(self, name: str, *, platform: str = "", credentials: Credentials = ANONYMOUS) -> RemoteImage:
        """What a registry has under a name with a tag or a digest, without its layers. Raises as `pull` does."""
        reference = references.parse(name).with_default_tag()
        wanted = parse_platform(platform) if platform else None
        return await self._puller.resolve(reference, wanted, credentials, Progress())

    def bring(self, image: RemoteImage) -> Messages:
        """Pull what was found."""
        return stream(lambda progress: self._puller.bring(image, progress))

    def bring_layers(self, layers: Sequence[Descriptor], diff_ids: Sequence[str], source: SourceOf) -> Messages:
        """Have layers here that are no image's; the caller leases them."""
        return stream(lambda progress: self._arrivals.bring_layers(layers, diff_ids, source(progress.cancel), progress))

    def push(self, name: str, tag: str = "", *, platform: str = "", credentials: Credentials = ANONYMOUS) -> Messages:
        """Push one tag, or all tags of the repository when there is none; of each one `platform` alone, if given."""
        reference = references.parse(name)
        if tag:
            reference = reference.with_tag(tag)
        wanted = parse_platform(platform) if platform else None
        return stream(lambda progress: self._pusher.push(reference, credentials, progress, platform=wanted))

    async def publish(
        self, root: Descriptor, name: Reference, credentials: Credentials, progress: Progress, *, tagged: bool
    ) -> None:
        """Push content that is here, of an image or not; without `tagged` by digest alone. Raises RegistryError."""
        await self._pusher.publish(root, name, credentials, progress, tagged=tagged)

    async def save(self, names: Sequence[str], *, platforms: Sequence[str] = ()) -> AsyncIterator[bytes]:
        """A tar of the images, or of some platforms of them. Raises ImageNotFound at once."""
        images = save.select(self._library.catalog, names)
        wanted = [parse_platform(text) for text in platforms]
        planned = await blocking.run(save.plan, self._library, images, wanted)
        for selected in images:
            self._events.publish("image", "save", selected.entry.id, {"name": selected.entry.id})
        return save.archive(self._library, planned)

    def load(self, body: AsyncIterator[bytes], *, quiet: bool = False, platforms: Sequence[str] = ()) -> Messages:
        """Load every image of an archive, or these platforms of each."""
        wish = Wish(tuple(parse_platform(text) for text in platforms))
        return stream(lambda progress: self._load(body, wish, progress, quiet=quiet))

    async def _load(self, body: AsyncIterator[bytes], wish: Wish, progress: Progress, *, quiet: bool) -> None:
        with await self._spool.receive(body, progress) as file:
            source, images = await run_cancellable(
                progress,
                "disk",
                read_archive,
                file,
                wish,
                check=progress.cancel.check,
            )
            if not images:
                raise InvalidArgument("invalid archive: it holds no image")
            for image in images:
                await self._load_one(image, source, progress, quiet=quiet)

    async def _load_one(self, image: ArchivedImage, source: ArchiveSource, progress: Progress, *, quiet: bool) -> None:
        names = [str(name) for name in image.names]
        for name in image.names:
            old = self._library.catalog.named(name)
            if old is not None and old.id != image.chosen.id:
                text = (
                    f"The image {name.familiar} already exists, renaming the old one with ID {old.id} to empty string"
                )
                progress.say(stream_line(f"{text}\n"))
        words = QUIET_WORDS if quiet else _LOAD_WORDS
        entry = await self._arrivals.bring(image.chosen, source, progress, names, words)
        for name in image.names:
            progress.say(stream_line(f"Loaded image: {name.familiar}\n"))
        if not image.names:
            progress.say(stream_line(f"Loaded image ID: {entry.id}\n"))
        for shown in [name.familiar for name in image.names] or [entry.id]:
            self._events.publish("image", "load", entry.id, {"name": shown})

    def import_image(
        self,
        body: AsyncIterator[bytes],
        *,
        url: str = "",
        repository: str = "",
        tag: str = "",
        message: str = "",
        change: Callable[[ImageConfig], ImageConfig] | None = None,
        platform: str = "",
    ) -> Messages:
        """Make an image of one tar: `body`, or what `url` gives, with the configuration that `change` makes of none.

        Raises InvalidArgument at once for wrong words.
        """
        config = change(ImageConfig()) if change else ImageConfig()
        target = import_target(repository, tag) if repository else None
        wanted = parse_platform(platform) if platform else host_platform()
        if wanted.os != "linux":
            raise InvalidArgument("operating system is not supported")
        server = web_server(url) if url else None

        async def work(progress: Progress) -> None:
            spool = self._spool
            with await (
                spool.download(self._client, server, url, progress) if server else spool.receive(body, progress)
            ) as file:
                entry = await self.assembler.add(
                    lambda: file,
                    parent=None,
                    config=config,
                    references=[str(target)] if target else [],
                    comment=message or f"Imported from {url or '-'}",
                    platform=wanted,
                    progress=progress,
                )
            progress.say(status(entry.id))
            self._events.publish("image", "import", entry.id, {"name": target.familiar if target else entry.id})

        return stream(work)

    async def commit(
        self,
        parent_id: str,
        open_layer: Callable[[], Readable],
        config: ImageConfig,
        *,
        repository: str = "",
        tag: str = "",
        author: str = "",
        comment: str = "",
        created_by: str = "",
        container: str = "",
    ) -> str:
        """An image of `parent_id`'s layers and the tar that `open_layer` opens (in a thread); returns its id.

        Raises InvalidArgument for a bad name, ImageNotFound.
        """
        target = tag_target(repository, tag) if repository else None
        parent, _ = self._library.catalog.lookup(parent_id)
        entry = await self.assembler.add(
            open_layer,
            parent=parent,
            config=config,
            references=[str(target)] if target else [],
            author=author,
            comment=comment,
            created_by=created_by,
            container=container,
            progress=Progress(),
        )
        return entry.id

    async def distribution(self, name: str, *, credentials: Credentials = ANONYMOUS) -> wire.DistributionInspect:
        """What a registry has under a name, without pulling it. Raises RegistryError, NotFound."""
        reference = references.parse(name).with_default_tag()
        try:
            return await blocking.run(partial(self._distribution, reference, credentials), pool="net")
        except RegistryError as error:
            raise worded(error, reference) from error

    def _distribution(self, reference: Reference, credentials: Credentials) -> wire.DistributionInspect:
        sessions = self._client.sessions(reference, credentials=credentials, cancel=Cancel())
        top, rest = resolve(sessions, reference.digest or reference.tag)
        document = oci_image.parse_document(top.raw, top.media_type)
        descriptor = Descriptor(
            media_type=oci_image.media_type_of(document, top.media_type), digest=top.digest, size=len(top.raw)
        )
        if isinstance(document, Index):
            found = [entry.platform for entry in document.manifests if entry.platform is not None]
        elif oci_image.is_image(document):
            image = oci_image.parse_image(get_small_blob(rest[0], document.config, CONFIG_LIMIT))
            found = [PlatformInfo(architecture=image.architecture, os=image.os, variant=image.variant)]
        else:
            found = []
        return wire.DistributionInspect(descriptor=descriptor, platforms=found)

    async def login(self, server: str, credentials: Credentials) -> wire.AuthStatus:
        """Check credentials. Raises Unauthorized, RegistryError."""
        token = await blocking.run(login, self._client, server, credentials, Cancel(), pool="net")
        return wire.AuthStatus(status="Login Succeeded", identity_token=token)

    async def search(
        self, term: str, *, limit: int = 25, credentials: Credentials = ANONYMOUS
    ) -> list[wire.SearchResult]:
        """Images by name at a registry that offers a search. Raises RegistryError, InvalidArgument."""
        if not 1 <= limit <= 100:
            raise InvalidArgument(f"limit {limit} is outside the range of [1, 100]")
        return await blocking.run(search, self._client, term, limit, credentials, Cancel(), pool="net")


def import_target(repository: str, tag: str) -> Reference:
    """The name that an imported image gets. Raises InvalidReference."""
    if references.parse(repository).digest is not None:
        raise InvalidReference("cannot import digest reference")
    return tag_target(repository, tag)


def pull_target(name: str, tag: str) -> Reference:
    """The reference that `fromImage` and `tag` mean; `tag` may be a digest. Raises InvalidReference."""
    reference = references.parse(name)
    if not tag:
        return reference
    return reference.with_digest(tag) if is_digest(tag) else reference.with_tag(tag)
