"""An image on its way in: its documents chosen and checked, its layers brought and unpacked in order, then its record.

Daemon's loop; transfers run in net threads, unpacking in disk or, while bytes still arrive, stream threads. Nothing is
named before everything is there, and what is being brought is leased, so that a removal running beside it takes nothing
away. Used by pull and load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from corten.engine.images.catalog import ImageEntry
from corten.engine.images.decompress import TarStream
from corten.engine.images.downloads import Download, Downloads, Watch
from corten.engine.images.library import ImageLibrary
from corten.engine.images.progress import Progress, all_or_none, run_cancellable
from corten.engine.images.sources import ImageSource, verified_manifest
from corten.errors import CortenError, DataLoss, InvalidArgument, NotFound
from corten.lib import blocking
from corten.lib.disk_full import is_disk_full
from corten.lib.keylock import KeyLock
from corten.registry.fetch import Buffer, RawManifest
from corten.spec import oci_image
from corten.spec.digest import chain_ids, digest_of, short
from corten.spec.docker.progress import layer_status
from corten.spec.oci_image import CONFIG_LIMIT, Descriptor, Image, Index, Manifest
from corten.spec.platform import Platform, matches

_NESTING = 3
_EARLY_AT_ONCE = 8
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the line of a layer says at each step; an empty text is not said. `by_diff_id` names lines by diffIDs."""

    exists: str = "Already exists"
    found: str = "Pulling fs layer"
    waiting: str = "Waiting"
    downloading: str = "Downloading"
    verifying: str = "Verifying Checksum"
    downloaded: str = "Download complete"
    extracting: str = "Extracting"
    complete: str = "Pull complete"
    by_diff_id: bool = False


PULL_WORDS = Words()
QUIET_WORDS = Words(
    exists="", found="", waiting="", downloading="", verifying="", downloaded="", extracting="", complete=""
)


class NoMatchingPlatform(NotFound):
    """The image is not there for the platform that was asked for."""

    code = "no-matching-platform"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenImage:
    """One platform's image: its documents as bytes and as what they say."""

    manifest_raw: bytes
    descriptor: Descriptor
    manifest: Manifest
    config_raw: bytes
    image: Image
    indexes: tuple[RawManifest, ...] = ()  # the way to the manifest, the topmost first
    companions: tuple[Descriptor, ...] = ()  # blobs to keep beside it
    made_here: bool = False  # the manifest was written by who reads, not received

    @property
    def id(self) -> str:
        """The image's id."""
        return self.manifest.config.digest

    @property
    def root(self) -> Descriptor:
        """What a name of it means: the topmost index, else the manifest."""
        if not self.indexes:
            return self.descriptor
        top = self.indexes[0]
        media_type = oci_image.media_type_of(oci_image.parse_document(top.raw, top.media_type), top.media_type)
        return Descriptor(media_type=media_type, digest=top.digest, size=len(top.raw))


def choose(source: ImageSource, top: RawManifest, wanted: Platform, *, given: str, explicit: bool) -> ChosenImage:
    """Follow indexes from `top` to the image for `wanted`, and read its configuration. Blocking.

    Raises NoMatchingPlatform (`explicit`: also for an image that is only for another platform), InvalidArgument.
    """
    current = top
    indexes: list[RawManifest] = []
    for _ in range(_NESTING):
        document = oci_image.parse_document(current.raw, current.media_type)
        if isinstance(document, Manifest):
            return _read(source, current, document, wanted, given=given, explicit=explicit, indexes=tuple(indexes))
        indexes.append(current)
        entry = _entry(document, wanted, given)
        found = verified_manifest(source, entry)
        if len(found.raw) != entry.size:
            raise DataLoss(f"manifest verification failed for digest {entry.digest}")
        current = RawManifest(entry.media_type or found.media_type, found.digest, found.raw)
    raise InvalidArgument("image index is nested too deeply")


def _entry(index: Index, wanted: Platform, given: str) -> Descriptor:
    entry = oci_image.choose_manifest(index, wanted)
    if entry is None:
        raise NoMatchingPlatform(
            f"no matching manifest for {wanted} in the manifest list entries",
            hint=f"{given} is there for other platforms only",
        )
    return entry


def _read(
    source: ImageSource,
    raw: RawManifest,
    manifest: Manifest,
    wanted: Platform,
    *,
    given: str,
    explicit: bool,
    indexes: tuple[RawManifest, ...],
) -> ChosenImage:
    if not oci_image.is_image(manifest):
        raise oci_image.UnsupportedImage(
            f"{given} is no container image: its configuration has the media type {manifest.config.media_type}"
        )
    size = manifest.config.size
    if size > CONFIG_LIMIT:
        raise InvalidArgument(f"image configuration of {size} bytes is larger than the limit of {CONFIG_LIMIT}")
    buffer = Buffer()
    source.blob(manifest.config, buffer)
    config_raw = buffer.content()
    if digest_of(config_raw) != manifest.config.digest:
        raise DataLoss(f"image configuration verification failed for digest {manifest.config.digest}")
    image = oci_image.parse_image(config_raw)
    oci_image.check_layers(manifest, image)
    if image.os not in {"", "linux"}:
        raise NoMatchingPlatform(f'image operating system "{image.os}" cannot be used on this platform')
    if explicit and image.architecture and not matches(image.platform, wanted):
        raise NoMatchingPlatform(
            f"image with reference {given} was found but does not match the specified platform: "
            f"wanted {wanted}, actual: {image.platform}"
        )
    media_type = oci_image.media_type_of(manifest, raw.media_type)
    return ChosenImage(
        manifest_raw=raw.raw,
        descriptor=Descriptor(media_type=media_type, digest=raw.digest, size=len(raw.raw)),
        manifest=manifest,
        config_raw=config_raw,
        image=image,
        indexes=indexes,
    )


@dataclass(slots=True, kw_only=True)
class _Layer:
    descriptor: Descriptor
    diff_id: str
    chain_id: str
    parent: str
    item: str
    fetched: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True, slots=True)
class _Lines:
    """The progress lines of one arrival's layers."""

    progress: Progress
    words: Words

    def say(self, layer: _Layer, text: str) -> None:
        if text:
            self.progress.say(layer_status(layer.item, text))

    def say_from_thread(self, layer: _Layer, text: str) -> None:
        if text:
            self.progress.say_from_thread(layer_status(layer.item, text))

    def update(self, layer: _Layer, text: str, done: int) -> None:
        if text:
            self.progress.update(layer.item, text, min(done, layer.descriptor.size), layer.descriptor.size)

    def reach(self, layer: _Layer, text: str) -> None:
        if text:
            self.progress.reach(layer.item, text, layer.descriptor.size)


_UNWATCHED = Watch(downloading=lambda _: None, retrying=lambda _: None, verifying=lambda: None)


class Arrivals:
    """Brings layers; one a daemon, since downloads are counted and shared across pulls."""

    def __init__(self, library: ImageLibrary, *, max_downloads: int = 3, early_from: int = 1 << 20) -> None:
        self._library = library
        self._downloads = Downloads(library, at_once=max_downloads)
        self._chain_locks = KeyLock()
        self._early_from = early_from
        self._early = asyncio.Semaphore(_EARLY_AT_ONCE)

    def limit(self, max_downloads: int) -> None:
        """How many blobs are fetched at once, from now on."""
        self._downloads.limit(max_downloads)

    async def bring(
        self,
        chosen: ChosenImage,
        source: ImageSource,
        progress: Progress,
        references: Sequence[str],
        words: Words = PULL_WORDS,
    ) -> ImageEntry:
        """Have all of `chosen` here, unpacked, recorded and named. Raises what the source or the disk raises."""
        layers = _plan(chosen.manifest.layers, chosen.image.diff_ids, by_diff_id=words.by_diff_id)
        keys = [chosen.id, chosen.descriptor.digest, *(i.digest for i in chosen.indexes)]
        keys += [key for layer in layers for key in (layer.descriptor.digest, layer.chain_id)]
        keys += [companion.digest for companion in chosen.companions]
        async with self._library.lease(keys):
            await self._bring_layers(layers, source, _Lines(progress, words))
            await self._bring_companions(chosen.companions, source, progress)
            for raw in (*(index.raw for index in chosen.indexes), chosen.manifest_raw, chosen.config_raw):
                await blocking.run(self._library.put_blob, raw)
            return await self._library.add(
                chosen.descriptor,
                chosen.manifest,
                chosen.image,
                references,
                extra=[*(index.digest for index in chosen.indexes), *(blob.digest for blob in chosen.companions)],
                target=chosen.root,
                made_here=chosen.made_here,
            )

    async def bring_layers(
        self, layers: Sequence[Descriptor], diff_ids: Sequence[str], source: ImageSource, progress: Progress
    ) -> None:
        """Have layers here, unpacked one upon the other, which the caller has leased. Raises what `bring` raises."""
        for layer in layers:
            oci_image.check_layer_type(layer)
        await self._bring_layers(_plan(layers, diff_ids, by_diff_id=False), source, _Lines(progress, PULL_WORDS))

    async def _bring_companions(
        self, companions: Sequence[Descriptor], source: ImageSource, progress: Progress
    ) -> None:
        """Blobs that are kept as they are; a registry keeps documents apart from blobs."""
        for descriptor in companions:
            if await blocking.run(self._library.has_blob, descriptor.digest):
                continue
            if descriptor.media_type in oci_image.INDEX_TYPES | oci_image.MANIFEST_TYPES:
                raw = await run_cancellable(progress, "net", verified_manifest, source, descriptor)
                await blocking.run(self._library.put_blob, raw.raw)
                continue
            download = self._downloads.join(descriptor)
            try:
                await self._downloads.bring(download, source, _UNWATCHED, progress)
            finally:
                self._downloads.leave(download)

    async def _bring_layers(self, layers: list[_Layer], source: ImageSource, lines: _Lines) -> None:
        missing: list[_Layer] = []
        for layer in layers:
            if await blocking.run(self._is_complete, layer):
                lines.say(layer, lines.words.exists)
            else:
                lines.say(layer, lines.words.found)
                missing.append(layer)
        for layer in missing[3:]:
            lines.say(layer, lines.words.waiting)
        downloads = [self._downloads.join(layer.descriptor) for layer in missing]
        try:
            pairs = list(zip(missing, downloads, strict=True))
            works = [self._fetch(layer, download, source, lines) for layer, download in pairs]
            await all_or_none(lines.progress, [*works, self._unpack_all(pairs, lines)])
        finally:
            for download in downloads:
                self._downloads.leave(download)

    def _is_complete(self, layer: _Layer) -> bool:
        return self._library.has_layer(layer.chain_id) and self._library.blob_size(layer.descriptor.digest) is not None

    async def _fetch(self, layer: _Layer, download: Download, source: ImageSource, lines: _Lines) -> None:
        watch = Watch(
            downloading=lambda done: lines.update(layer, lines.words.downloading, done),
            retrying=lambda s: lines.say_from_thread(layer, f"Retrying in {s} second{'s' * (s != 1)}"),
            verifying=lambda: lines.say_from_thread(layer, lines.words.verifying),
        )
        await self._downloads.bring(download, source, watch, lines.progress)
        lines.say(layer, lines.words.downloaded)
        layer.fetched.set_result(None)

    async def _unpack_all(self, layers: list[tuple[_Layer, Download]], lines: _Lines) -> None:
        for layer, download in layers:
            async with self._chain_locks.hold(layer.chain_id):
                missing = not await blocking.run(self._library.has_layer, layer.chain_id)
                if missing:
                    await self._unpack(layer, download, lines)
            await layer.fetched
            if missing:
                lines.reach(layer, lines.words.extracting)
            elif layer.descriptor.digest != layer.diff_id:
                await run_cancellable(lines.progress, "disk", self._check_stored, layer, lines)
            lines.say(layer, lines.words.complete)

    async def _unpack(self, layer: _Layer, download: Download, lines: _Lines) -> None:
        if layer.descriptor.size >= self._early_from and await _begins(download, layer.fetched):
            async with self._early:
                if await self._read_along(layer, download, lines):
                    return
        await layer.fetched
        await run_cancellable(lines.progress, "disk", self._unpack_stored, layer, lines)

    async def _read_along(self, layer: _Layer, download: Download, lines: _Lines) -> bool:
        """Unpack the layer while it arrives; False when that is to be done anew, from what is stored in the end.

        What fails here may be due to bytes that are not the blob's: the download's verdict on them goes first.
        """
        generation = download.growing.generation
        try:
            return await run_cancellable(lines.progress, "stream", self._unpack_arriving, layer, download, lines)
        except (CortenError, OSError) as error:
            if is_disk_full(error):
                raise
            await layer.fetched
            if download.growing.generation == generation:
                raise
            return False

    def _unpack_arriving(self, layer: _Layer, download: Download, lines: _Lines) -> bool:
        reader = download.growing.reader(self._step(layer, lines))
        if reader is None:
            return False
        with reader, lines.progress.cancel.interrupting(reader.stop):
            self._library.unpack_stream(reader, layer.diff_id, layer.chain_id, layer.parent)
        return True

    def _unpack_stored(self, layer: _Layer, lines: _Lines) -> None:
        step = self._step(layer, lines)
        self._library.unpack(layer.descriptor.digest, layer.diff_id, layer.chain_id, layer.parent, step)

    def _check_stored(self, layer: _Layer, lines: _Lines) -> None:
        """A blob that came for a layer that was here is that layer: else what is pushed of it would be another one.
        Raises DataLoss."""
        with closing(self._library.open_blob(layer.descriptor.digest)) as file:
            stream = TarStream(file, diff_id=layer.diff_id)
            while stream.read(_CHUNK):
                lines.progress.cancel.check()

    def _step(self, layer: _Layer, lines: _Lines) -> Callable[[int], None]:
        def step(done: int) -> None:
            lines.progress.cancel.check()
            if layer.fetched.done():  # before that, the line tells of the download
                lines.update(layer, lines.words.extracting, done)

        return step


async def _begins(download: Download, fetched: asyncio.Future[None]) -> bool:
    """Wait until the blob's bytes come, or are all there; whether they are still coming."""
    if fetched.done():
        return False
    begun = asyncio.ensure_future(download.begun.wait())
    either: set[asyncio.Future[Any]] = {begun, fetched}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        begun.cancel()
    return not fetched.done()


def _plan(layers: Sequence[Descriptor], diff_ids: Sequence[str], *, by_diff_id: bool) -> list[_Layer]:
    chain = chain_ids(diff_ids)
    return [
        _Layer(
            descriptor=descriptor,
            diff_id=diff_id,
            chain_id=chain[number],
            parent=chain[number - 1] if number else "",
            item=short(diff_id if by_diff_id else descriptor.digest),
        )
        for number, (descriptor, diff_id) in enumerate(zip(layers, diff_ids, strict=True))
    ]
