"""A cache or an image in a directory of the client's: an OCI image layout, opened by descriptor. Blocking; threads.

Only files called by a digest are read, regular ones, and no link is followed; what is read is checked by who takes it.
A blob that is there already is not written again; the index comes last, in the place of the old one.
Source: OCI image-spec, image-layout.md.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import BinaryIO

import msgspec

from corten.errors import DataLoss, InvalidArgument, NotFound
from corten.lib import codec
from corten.linux.acting import ROOT, Identity, acting_as
from corten.registry.fetch import OnProgress, RawManifest, Sink
from corten.registry.session import OnRetry
from corten.spec.digest import digest_of, is_digest
from corten.spec.oci_image import ANNOTATION_REF_NAME, MANIFEST_LIMIT, OCI_INDEX, Descriptor, Index

_CHUNK = 1 << 20
_DEFAULT_TAG = "latest"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


OpenBlob = Callable[[], BinaryIO]


class LayoutSource:
    """Gives documents and blobs of a layout; `open_directory` gives a descriptor of it, which is closed again.

    Files are opened with the rights of `reader`.
    """

    def __init__(self, open_directory: Callable[[], int], reader: Identity = ROOT) -> None:
        self._open_directory = open_directory
        self._reader = reader

    def top(self, tag: str, digest: str) -> RawManifest:
        """The document that the index has under a tag (without one: under `latest`, or the only one), or the one with a
        digest. Raises NotFound, DataLoss."""
        if not digest:
            index = _index(self._read(["index.json"], MANIFEST_LIMIT))
            name = tag or _DEFAULT_TAG
            named = [entry for entry in index.manifests if (entry.annotations or {}).get(ANNOTATION_REF_NAME) == name]
            if not named and not tag and len(index.manifests) == 1:
                named = index.manifests
            if not named:
                raise NotFound(f"the directory has nothing with the tag {name!r}")
            digest = named[0].digest
        if not is_digest(digest):
            raise InvalidArgument(f"invalid digest: {digest[:100]!r}")
        return self._document(digest, "")

    def manifest(self, descriptor: Descriptor) -> RawManifest:
        """A document. Raises NotFound, DataLoss."""
        return self._document(descriptor.digest, descriptor.media_type)

    def blob(
        self,
        descriptor: Descriptor,
        sink: Sink,
        *,
        on_progress: OnProgress | None = None,
        on_retry: OnRetry | None = None,  # noqa: ARG002 - files do not fail in passing
    ) -> None:
        """Append what `sink` lacks. Raises NotFound, DataLoss."""
        with self._open(_path(descriptor.digest)) as file:
            if os.fstat(file.fileno()).st_size != descriptor.size:
                raise DataLoss(f"{descriptor.digest} has not the size of {descriptor.size} bytes")
            file.seek(sink.offset)
            while sink.offset < descriptor.size and (data := file.read(min(_CHUNK, descriptor.size - sink.offset))):
                sink.write(data)
                if on_progress is not None:
                    on_progress(sink.offset)

    def _document(self, digest: str, media_type: str) -> RawManifest:
        raw = self._read(_path(digest), MANIFEST_LIMIT)
        if digest_of(raw) != digest:
            raise DataLoss(f"manifest verification failed for digest {digest}")
        return RawManifest(media_type, digest_of(raw), raw)

    def _read(self, path: list[str], limit: int) -> bytes:
        with self._open(path) as file:
            raw = file.read(limit + 1)
        if len(raw) > limit:
            raise InvalidArgument(f"{path[-1]} is larger than the limit of {limit} bytes")
        return raw

    def _open(self, path: list[str]) -> BinaryIO:
        directory = self._open_directory()
        try:
            with acting_as(self._reader):
                for name in path[:-1]:
                    below = os.open(name, _DIRECTORY, dir_fd=directory)
                    os.close(directory)
                    directory = below
                return _opened(path[-1], directory)
        except FileNotFoundError:
            raise NotFound(f"the directory has no {'/'.join(path)}") from None
        finally:
            os.close(directory)


def write_layout(
    directory: int,
    *,
    blobs: Iterable[tuple[Descriptor, OpenBlob]],
    manifest: Descriptor,
    tag: str,
    check: Callable[[], None],
) -> None:
    """Write blobs, documents among them, and let `tag` mean the manifest; other tags stay.

    `check` may raise to end it. Raises OSError.
    """
    shelf = _made(_made(os.dup(directory), "blobs"), "sha256")
    try:
        for descriptor, open_blob in blobs:
            name = descriptor.digest.removeprefix("sha256:")
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=shelf, follow_symlinks=False).st_size == descriptor.size:
                    continue
            with open_blob() as file:
                _write(shelf, name, iter(lambda file=file: file.read(_CHUNK), b""), check)  # type: ignore[misc]
    finally:
        os.close(shelf)
    _write(directory, "oci-layout", [_LAYOUT], check)
    named = msgspec.structs.replace(manifest, annotations={ANNOTATION_REF_NAME: tag})
    others = [one for one in _known(directory) if (one.annotations or {}).get(ANNOTATION_REF_NAME) not in (None, tag)]
    index = Index(schema_version=2, media_type=OCI_INDEX, manifests=[*others, named])
    _write(directory, "index.json", [codec.encode(index)], check)


def _known(directory: int) -> list[Descriptor]:
    try:
        with _opened("index.json", directory) as file:
            return _index(file.read(MANIFEST_LIMIT)).manifests
    except (OSError, InvalidArgument):
        return []


def _opened(name: str, directory: int) -> BinaryIO:
    """A regular file. Raises InvalidArgument for anything else, OSError."""
    fd = os.open(name, _READ, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(fd).st_mode):  # before a file object is made, which takes no directory and leaves it
        os.close(fd)
        raise InvalidArgument(f"{name} in the directory is no file")
    return os.fdopen(fd, "rb")


def _index(raw: bytes) -> Index:
    return codec.decode(Index, raw)


def _path(digest: str) -> list[str]:
    if not is_digest(digest):
        raise InvalidArgument(f"invalid digest: {digest[:100]!r}")
    return ["blobs", "sha256", digest.removeprefix("sha256:")]


def _made(parent: int, name: str) -> int:
    """A directory below `parent`, made if it is missing; `parent` is closed."""
    try:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        made = os.open(name, _DIRECTORY, dir_fd=parent)
        _own(made, parent)
        return made
    finally:
        os.close(parent)


def _own(fd: int, directory: int) -> None:
    """What is made belongs to whom the directory belongs: the engine works for its owner."""
    status = os.fstat(directory)
    os.fchown(fd, status.st_uid, status.st_gid)


def _write(directory: int, name: str, pieces: Iterable[bytes], check: Callable[[], None]) -> None:
    """A file that appears whole."""
    new = f".{name}.{secrets.token_hex(8)}"
    fd = os.open(new, _WRITE, 0o644, dir_fd=directory)
    try:
        with os.fdopen(fd, "wb") as file:
            _own(fd, directory)
            for piece in pieces:
                check()
                file.write(piece)
        os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=directory)
        raise
