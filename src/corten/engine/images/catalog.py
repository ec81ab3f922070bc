"""The images of this engine by id and by name, in memory: lookups for every create, without touching the disk. Daemon.

Loaded from the image store once and changed together with it (`library`). Pure data: no I/O here. Names are kept in
their normal form, tags (`docker.io/library/busybox:latest`) and digests (`docker.io/library/busybox@sha256:...`) alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from corten.errors import NotFound
from corten.spec import platform as platforms
from corten.spec import reference as references
from corten.spec.digest import is_digest
from corten.spec.oci_image import Descriptor, Image
from corten.spec.reference import Reference

_CACHE_LIMIT = 4096


class ImageNotFound(NotFound):
    """No image has this name or id; clients look for the words "No such image"."""

    code = "image-not-found"


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image that a container can be made of; `reference` is the name it was found by, as people write it."""

    id: str
    reference: str
    config: Image
    chain_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One image: its documents' digests, its names and what they amount to."""

    id: str
    manifest: Descriptor
    references: tuple[str, ...]
    layers: tuple[Descriptor, ...]
    chain: tuple[str, ...]
    config: Image
    config_size: int
    layer_sizes: tuple[int, ...] = ()
    parent: str = ""
    tagged_ns: int = 0
    made_here: bool = False
    targets: Mapping[str, Descriptor] = field(default_factory=dict)  # names that mean more than the manifest

    @property
    def chain_id(self) -> str:
        """The chainID of the topmost layer; empty for an image without layers."""
        return self.chain[-1] if self.chain else ""

    @property
    def unpacked_size(self) -> int:
        """Bytes of all its layers' files."""
        return sum(self.layer_sizes)

    @property
    def blobs(self) -> list[str]:
        """The digests of all blobs that make up the image."""
        return [self.manifest.digest, self.id, *(layer.digest for layer in self.layers)]

    def target(self, name: Reference | None) -> Descriptor:
        """What is saved and pushed under a name: an index, another manifest of this image, or its own manifest."""
        return self.targets.get(stored_name(name), self.manifest) if name is not None else self.manifest

    @property
    def roots(self) -> list[Descriptor]:
        """What its names mean, each once: that of the first tag comes first. The manifest alone without names."""
        names = sorted(self.references, key=lambda name: "@" in name)
        found = {target.digest: target for target in (self.targets.get(name, self.manifest) for name in names)}
        return list(found.values()) or [self.manifest]

    def names(self) -> list[Reference]:
        """The references, parsed."""
        return [references.parse(text) for text in self.references]

    def repo_tags(self) -> list[str]:
        """The tags, as people write them."""
        return [name.familiar for name in self.names() if name.tag]

    def repo_digests(self) -> list[str]:
        """The names by digest, as people write them."""
        return [name.familiar for name in self.names() if name.digest]


def stored_name(name: Reference) -> str:
    """The name as the catalog keeps it: a digest counts more than a tag beside it."""
    return f"{name.name}@{name.digest}" if name.digest else str(name)


class Catalog:
    """All images."""

    def __init__(self, entries: Iterable[ImageEntry] = ()) -> None:
        self._entries = {entry.id: entry for entry in entries}
        self._by_name = {name: entry.id for entry in self._entries.values() for name in entry.references}
        self._resolved: dict[str, ResolvedImage] = {}

    def __iter__(self) -> Iterator[ImageEntry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, image_id: str) -> ImageEntry | None:
        """The image with exactly this id."""
        return self._entries.get(image_id)

    def named(self, name: Reference) -> ImageEntry | None:
        """The image with this name; a digest counts more than a tag beside it."""
        found = self._by_name.get(stored_name(name))
        return self._entries.get(found) if found else None

    def put(self, entry: ImageEntry) -> None:
        """Add or replace an image; its names are taken from whoever had them."""
        self._resolved.clear()
        old = self._entries.get(entry.id)
        for name in old.references if old else ():
            if self._by_name.get(name) == entry.id:
                del self._by_name[name]
        for name in entry.references:
            owner = self._entries.get(self._by_name.get(name, ""))
            if owner is not None and owner.id != entry.id:
                self._entries[owner.id] = replace(owner, references=tuple(r for r in owner.references if r != name))
            self._by_name[name] = entry.id
        self._entries[entry.id] = entry

    def drop(self, image_id: str) -> None:
        """Forget an image and its names."""
        self._resolved.clear()
        entry = self._entries.pop(image_id, None)
        for name in entry.references if entry else ():
            if self._by_name.get(name) == image_id:
                del self._by_name[name]

    def lookup(self, text: str) -> tuple[ImageEntry, Reference | None]:
        """The image with a name, an id or the unique beginning of an id; the name when it was found by one.

        Raises ImageNotFound in Docker's words, InvalidReference for what can be neither.
        """
        if text.startswith("sha256:") or len(text) == 64:
            digits = references.id_prefix(text)
            if digits is not None:
                return self._by_prefix(digits, text), None
        name = references.parse(text).with_default_tag()
        entry = self.named(name)
        if entry is None and name.digest:
            entry = self._by_manifest(name)
        if entry is not None:
            return entry, name
        digits = references.id_prefix(text)
        missing = name.familiar if name.digest is None else text
        if digits is None:
            raise ImageNotFound(f"No such image: {missing}")
        return self._by_prefix(digits, missing), None

    def provided(self, text: str, platform: str) -> ImageEntry:
        """The image with this name or id, for this platform ("": any). Raises ImageNotFound, also for one that is here
        for another platform only."""
        entry, _ = self.lookup(text)
        if platform:
            wanted = platforms.parse(platform)
            if not platforms.matches(entry.config.platform, wanted):
                raise ImageNotFound(
                    f"image with reference {text} was found but does not provide the specified platform ({wanted})"
                )
        return entry

    def resolve(self, text: str) -> ResolvedImage:
        """As `lookup`, remembered until an image or a name changes: the way of every `create`."""
        resolved = self._resolved.get(text)
        if resolved is None:
            entry, name = self.lookup(text)
            resolved = ResolvedImage(entry.id, name.familiar if name else entry.id, entry.config, entry.chain_id)
            if len(self._resolved) >= _CACHE_LIMIT:
                self._resolved.clear()
            self._resolved[text] = resolved
        return resolved

    def children(self, image_id: str) -> list[str]:
        """The images that were built on this one."""
        return [entry.id for entry in self._entries.values() if entry.parent == image_id]

    def layer_sizes(self) -> dict[str, int]:
        """The size of each layer that an image has, by chainID."""
        return {c: s for entry in self for c, s in zip(entry.chain, entry.layer_sizes, strict=False)}

    def _by_prefix(self, digits: str, text: str) -> ImageEntry:
        exact = self._entries.get(f"sha256:{digits}")
        if exact is not None:
            return exact
        found = [entry for key, entry in self._entries.items() if key.startswith(f"sha256:{digits}")]
        if len(found) != 1:
            raise ImageNotFound(f"No such image: {text}")
        return found[0]

    def _by_manifest(self, name: Reference) -> ImageEntry | None:
        """An image of that repository whose manifest, or whose id, has the digest that was asked for."""
        wanted = name.digest or ""
        assert is_digest(wanted)
        for entry in self._entries.values():
            if wanted in {entry.manifest.digest, entry.id} and any(n.name == name.name for n in entry.names()):
                return entry
        return None
