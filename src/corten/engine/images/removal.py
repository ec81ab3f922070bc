"""What removing an image by a name or an id comes to: which names go, and whether the image goes. Pure; daemon.

Docker's rules and texts: by a name, the name goes, and the image with its last name; by an id, the image with all its
names if they are of one repository; containers and child images hold on to what they were made of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from corten.engine.images.catalog import ImageEntry
from corten.errors import Conflict
from corten.spec.digest import short
from corten.spec.reference import Reference


class ImageInUse(Conflict):
    """Something still needs the image."""

    code = "image-in-use"


@dataclass(frozen=True, slots=True)
class Use:
    """A container that was made of an image, and the name it was asked for by."""

    container_id: str
    running: bool
    reference: str


class MountUse(Protocol):
    """What removing images asks of whoever mounts them."""

    def of(self, image_id: str) -> Sequence[str]:
        """The directories where an image is mounted."""


class ContainerUse(Protocol):
    """What removing images asks of whoever knows the containers."""

    def uses(self, image_id: str) -> Sequence[tuple[str, bool, str]]:
        """The containers of an image, also stopped ones: id, whether it runs, the image's name given at creation."""


@dataclass(frozen=True, slots=True)
class Removal:
    """The names to take away, in order, and whether the image itself goes."""

    untag: tuple[Reference, ...]
    delete: bool


def plan_removal(
    entry: ImageEntry,
    name: Reference | None,
    given: str,
    *,
    uses: Sequence[Use],
    mounted: Sequence[str] = (),
    has_children: bool,
    force: bool,
) -> Removal:
    """What to do for `given`, which found `entry` by `name` or by its id (None). Raises ImageInUse.

    An image that is `mounted` at directories is held as by a running container.
    """
    names = entry.names()
    if name is None:
        if mounted:
            raise _conflict(entry, "cannot be forced", f"image is mounted at {mounted[0]}")
        _check(entry, uses=uses, has_children=has_children, force=force, names=0 if _is_single(names) else len(names))
        return Removal(tuple(names), delete=True)
    if not force and _is_single(names) and uses:
        raise ImageInUse(
            f"conflict: unable to remove repository reference {json.dumps(given)} (must force) - container "
            f"{short(uses[0].container_id)} is using its referenced image {short(entry.id)}"
        )
    if not force and _is_single(names) and mounted:
        raise ImageInUse(
            f"conflict: unable to remove repository reference {json.dumps(given)} (must force) - its referenced image "
            f"{short(entry.id)} is mounted at {mounted[0]}"
        )
    gone = _stored(names, name)
    rest = [n for n in names if n != gone]
    untag = [gone]
    if gone.digest is None and not any(n.tag and n.name == gone.name for n in rest):
        untag += [n for n in rest if n.digest and n.name == gone.name]
    # the name goes in any case; an image that something stands on stays without one
    is_held = has_children or bool(mounted) or any(use.running or not force for use in uses)
    return Removal(tuple(untag), delete=len(untag) == len(names) and not is_held)


def _check(entry: ImageEntry, *, uses: Sequence[Use], has_children: bool, force: bool, names: int) -> None:
    if has_children:
        raise _conflict(entry, "cannot be forced", "image has dependent child images")
    running = next((use for use in uses if use.running), None)
    if running is not None:
        why = f"image is being used by running container {short(running.container_id)}"
        raise _conflict(entry, "cannot be forced", why)
    if force:
        return
    if names:
        raise _conflict(entry, "must be forced", "image is referenced in multiple repositories")
    if uses:
        why = f"image is being used by stopped container {short(uses[0].container_id)}"
        raise _conflict(entry, "must be forced", why)


def _conflict(entry: ImageEntry, force: str, why: str) -> ImageInUse:
    return ImageInUse(f"conflict: unable to delete {short(entry.id)} ({force}) - {why}")


def _is_single(names: Sequence[Reference]) -> bool:
    """Whether all names are one tag and digests of its repository."""
    if len(names) <= 1:
        return True
    tags = [name for name in names if name.tag]
    if len(tags) > 1:
        return False
    one = tags[0] if tags else names[0]
    return {name.name for name in names if name.digest} == {one.name}


def _stored(names: Sequence[Reference], name: Reference) -> Reference:
    """The stored name that `name` means: with a digest, the tag beside it does not count."""
    wanted = Reference(name.domain, name.path, "", name.digest) if name.digest else name
    return wanted if wanted in names else next((n for n in names if n.name == name.name), wanted)
