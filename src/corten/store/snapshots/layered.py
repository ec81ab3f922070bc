"""Snapshots as overlayfs over layers of one format: directories of files or images. Daemon; blocking.

    <n>/fs                a layer's files, or the mount point of its image; n is a small number, for short mount options
    <n>/init              mount points for containers upon that layer: /etc/hosts, /proc and the like (see init_layer)
    0                     what belongs to no layer: the init of an empty image, empty directories
    c/<key>/{fs,work}     a container's upper and work directories
    tmp, trash            being made, being deleted

Rows say what exists; a directory without a row is removed at start, a layer's row is written after its files are on
disk (sync, rename, fsync of the directory). Images are mounted when they are first needed, once for all containers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from corten.errors import Conflict, DataLoss, NotFound
from corten.lib import codec
from corten.lib.atomicfile import fsync_dir
from corten.lib.tar import Readable
from corten.linux import tree
from corten.linux.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY
from corten.store.snapshots.differences import changes_of
from corten.store.snapshots.driver import Change
from corten.store.snapshots.formats import LayerFormat
from corten.store.snapshots.init_layer import make_init_layer
from corten.store.snapshots.inventory import disk_usage, orphans
from corten.store.snapshots.mounts import LayerMounts
from corten.store.snapshots.rows import Layer, Table

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AS_DATA = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV


class LayeredSnapshots:
    """The driver, for layers of `form`. One a daemon; it alone writes below `root`."""

    def __init__(self, root: Path, *, form: LayerFormat, layers: Table, snapshots: Table) -> None:
        self._root = root
        self._form = form
        self._mounts = LayerMounts(root)
        self._mounting = threading.Lock()
        self._places: dict[int, Path] = {}  # where the files of a layer are, by its number
        self._layer_table = layers
        self._snapshot_table = snapshots
        self._lock = threading.Lock()  # of the two maps; held for moments only, since prepare waits for it
        self._making = threading.Lock()  # of what takes longer: committing a layer, making an init layer
        self._purging = threading.Lock()  # two must not delete one tree: each finds gone what it has listed
        for name in ("", "c", "tmp", "trash"):
            (root / name).mkdir(mode=0o710, parents=True, exist_ok=True)
        self._layers = {key: codec.decode(Layer, value) for key, value in layers.list()}
        self._snapshots = {key: value.decode() for key, value in snapshots.list()}
        self._next = max((layer.number for layer in self._layers.values()), default=0) + 1
        self._lowers: dict[str, list[str]] = {}
        self._sweep()

    @property
    def name(self) -> str:
        """The driver's name."""
        return self._form.name

    @property
    def status(self) -> Sequence[tuple[str, str]]:
        """What `info` shows of the driver."""
        return self._form.status

    @property
    def mounts_images(self) -> bool:
        """Whether `mount_image` can be asked for."""
        return self._form.mounted

    def mount_image(self, fd: int) -> int:
        """An image of files in an open file (store/erofs) as a detached mount for data, the caller's to close."""
        return self._form.mount_image(fd, _AS_DATA)

    def warm(self) -> None:
        """What the first container would have to wait for."""
        self._mounts.enter()

    def close(self) -> None:
        """Let go of the layers' mounts; containers keep theirs."""
        self._mounts.close()

    def _sweep(self) -> None:
        """Give up directories that no row names: what a crash left."""
        for path in self.orphans():
            self._discard(Path(path))
        for entry in list(os.scandir(self._root / "tmp")):
            self._discard(self._root / "tmp" / entry.name)
        for key in [key for key in self._snapshots if not (self._root / "c" / key / "fs").is_dir()]:
            self._snapshot_table.delete(key)
            del self._snapshots[key]

    def _discard(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, self._root / "trash" / secrets.token_hex(8))

    def purge(self) -> None:
        """Delete what was given up; its rows are gone for good first: a power cut must not bring them back."""
        self._snapshot_table.flush()
        with self._purging:
            fd = os.open(self._root / "trash", _DIRECTORY)
            try:
                for name in os.listdir(fd):
                    tree.remove_tree(name, dir_fd=fd)
            finally:
                os.close(fd)

    # -- layers

    def has(self, chain_id: str) -> bool:
        """Whether the layer is here."""
        return chain_id in self._layers

    def size(self, chain_id: str) -> int:
        """Bytes of its own files."""
        return self._layer(chain_id).size

    def _layer(self, chain_id: str) -> Layer:
        layer = self._layers.get(chain_id)
        if layer is None:
            raise NotFound(f"layer {chain_id} is not here", hint="pull or load the image again")
        return layer

    def apply(self, chain_id: str, parent: str, stream: Readable) -> int:
        """Unpack `stream` as a layer upon `parent`."""
        if chain_id in self._layers:
            while stream.read(1 << 20):
                pass
            return self._layers[chain_id].size
        below = self._directories(parent)
        work = self._root / "tmp" / secrets.token_hex(8)
        try:
            work.mkdir(mode=0o710)
            written = self._form.write(work, below, stream)
            with self._making:
                if chain_id in self._layers:
                    return self._layers[chain_id].size
                layer = Layer(number=self._next, parent=parent, **written._asdict())
                self._next += 1
                os.rename(work, self._root / str(layer.number))
                try:
                    fsync_dir(self._root)
                    self._files(layer)  # a layer that cannot be mounted is none
                    self._record(chain_id, layer)
                except BaseException:
                    self._give_up(layer)
                    raise
            return written.size
        finally:
            self._discard(work)

    def _record(self, chain_id: str, layer: Layer) -> None:
        with self._lock:
            if layer.parent and layer.parent not in self._layers:
                raise NotFound(f"layer {layer.parent} was removed meanwhile")
            self._layer_table.put(chain_id, codec.encode(layer))
            self._layers[chain_id] = layer

    def _files(self, layer: Layer) -> Path:
        """The directory where this process finds a layer's files; its image is mounted if it is not yet."""
        place = self._places.get(layer.number)
        if place is not None:
            return place
        with self._mounting:
            place = self._places.get(layer.number)
            if place is None:
                place = self._mount_layer(layer)
                self._places[layer.number] = place
        return place

    def _mount_layer(self, layer: Layer) -> Path:
        home = self._root / str(layer.number)
        try:
            mount_fd = self._form.mount(home)
            if mount_fd is None:
                return home / "fs"
            try:
                self._mounts.attach(mount_fd, f"{layer.number}/fs")
            finally:
                os.close(mount_fd)
        except OSError as error:
            raise DataLoss(
                f"the layer in {home} cannot be mounted: {error}",
                hint="remove the images that use it and pull them again",
            ) from error
        return self._mounts.path(f"{layer.number}/fs")

    def _give_up(self, layer: Layer) -> None:
        """Nothing stands on a layer any more."""
        home = self._root / str(layer.number)
        with self._mounting:
            place = self._places.pop(layer.number, None)
        if place is not None and place != home / "fs":
            self._mounts.detach(f"{layer.number}/fs")
        self._discard(home)

    def remove_layer(self, chain_id: str) -> None:
        """Delete a layer that nothing stands on."""
        with self._lock:
            if chain_id not in self._layers:
                return
            users = [key for key, layer in self._layers.items() if layer.parent == chain_id]
            users += [key for key, parent in self._snapshots.items() if parent == chain_id]
            if users:
                raise Conflict(f"layer {chain_id} is in use by {users[0]}")
            layer = self._layers.pop(chain_id)
            self._lowers.pop(chain_id, None)
            self._layer_table.delete(chain_id)
        self._give_up(layer)

    def layers(self) -> Mapping[str, Layer]:
        """All layers by chainID."""
        return dict(self._layers)

    def check_layer(self, chain_id: str) -> list[str]:
        """Whether it is there, and is what was made once."""
        layer = self._layer(chain_id)
        found = []
        if layer.parent and layer.parent not in self._layers:
            found.append(f"its parent {layer.parent} is not here")
        try:
            self._files(layer)  # it can be mounted
            return found + self._form.problems(self._root / str(layer.number), layer, chain_id)
        except (OSError, DataLoss) as error:
            return [*found, f"its files are not here: {getattr(error, 'strerror', error)}"]

    def forget_layer(self, chain_id: str) -> None:
        """Give a damaged layer up although others stand on it."""
        with self._lock:
            layer = self._layers.pop(chain_id, None)
            self._lowers.clear()
            if layer is None:
                return
            self._layer_table.delete(chain_id)
        self._give_up(layer)

    def snapshots(self) -> Mapping[str, str]:
        """The layer that each snapshot stands on."""
        return dict(self._snapshots)

    def check_snapshot(self, key: str) -> list[str]:
        """Whether its directories and the layer below are there."""
        parent = self._parent(key)
        home = self._root / "c" / key
        problems = [f"{home / name} is not here" for name in ("fs", "work") if not (home / name).is_dir()]
        return problems + ([f"its layer {parent} is not here"] if parent and parent not in self._layers else [])

    def disk_usage(self) -> Mapping[str, int]:
        """Allocated bytes by what they are for."""
        return disk_usage(self._root)

    def orphans(self) -> list[str]:
        """Directories that no row names: a start removes them, so that there are none."""
        return orphans(self._root, [layer.number for layer in self._layers.values()], self._snapshots)

    def _stack(self, chain_id: str) -> list[Layer]:
        """A layer and those below it, topmost first."""
        found = []
        while chain_id:
            found.append(self._layer(chain_id))
            chain_id = found[-1].parent
        return found

    def _directories(self, chain_id: str) -> list[Path]:
        """The files of a layer and of those below it, topmost first."""
        return [self._files(layer) for layer in self._stack(chain_id)]

    def _lower(self, chain_id: str) -> list[str]:
        """The lower directories of a container upon this layer, relative to the root, topmost first."""
        lower = self._lowers.get(chain_id)
        if lower is None:
            home = self._root / (str(self._layer(chain_id).number) if chain_id else "0")
            with self._making:
                if not (home / "init").is_dir():
                    work = self._root / "tmp" / secrets.token_hex(8)
                    make_init_layer(work, self._directories(chain_id))
                    home.mkdir(mode=0o710, exist_ok=True)
                    os.rename(work, home / "init")
            lower = [f"{home.name}/init", *(f"{layer.number}/fs" for layer in self._stack(chain_id))]
            self._lowers[chain_id] = lower
        return lower

    # -- snapshots

    def prepare(self, key: str, parent: str) -> dict[str, Any]:
        """A new writable snapshot: two directories and a row."""
        lower = self._lower(parent)
        with self._lock:
            if key in self._snapshots:
                raise Conflict(f"snapshot {key} exists")
            if parent and parent not in self._layers:
                raise NotFound(f"layer {parent} was removed meanwhile")
            self._snapshot_table.put(key, parent.encode())
            self._snapshots[key] = parent
        try:
            self._make(f"{self._root}/c/{key}", lower)
        except BaseException:
            self.remove(key)
            raise
        return self.rootfs(key)

    def _make(self, home: str, lower: list[str]) -> None:
        os.mkdir(home, 0o710)
        os.mkdir(f"{home}/fs", 0o755)
        os.mkdir(f"{home}/work", 0o700)
        top = os.stat(f"{self._root}/{lower[0]}")  # overlayfs shows the upper's own root directory
        os.chmod(f"{home}/fs", top.st_mode & 0o7777)
        if top.st_uid or top.st_gid:
            os.chown(f"{home}/fs", top.st_uid, top.st_gid)

    def _parent(self, key: str) -> str:
        parent = self._snapshots.get(key)
        if parent is None:
            raise NotFound(f"snapshot {key} is not here")
        return parent

    def rootfs(self, key: str) -> dict[str, Any]:
        """The RootfsMount of a snapshot; where layers are mounted, `root_fd` mounts it and them."""
        parent, base, upper = self._parent(key), str(self._root), f"c/{key}/fs"
        if self._form.mounted:
            return {"type": "mount", "dir": base, "upper": upper}
        lower = self._lower(parent)
        return {"type": "overlay", "dir": base, "lower": lower, "upper": upper, "work": f"c/{key}/work"}

    def remove(self, key: str) -> None:
        """Give it up; `purge` deletes the files."""
        if self._snapshots.pop(key, None) is not None:
            self._discard(self._root / "c" / key)
            self._snapshot_table.delete(key)

    def keys(self) -> Sequence[str]:
        """All snapshots."""
        return list(self._snapshots)

    def upper_fd(self, key: str) -> int:
        """What the snapshot has written."""
        self._parent(key)
        return os.open(self._root / "c" / key / "fs", _DIRECTORY)

    def usage(self, key: str) -> int:
        """Bytes that the snapshot has written."""
        fd = self.upper_fd(key)
        try:
            return tree.usage(fd)
        finally:
            os.close(fd)

    def changes(self, key: str) -> list[Change]:
        """What the snapshot has changed."""
        fd = self.upper_fd(key)
        try:
            return changes_of(fd, self._directories(self._parent(key)))
        finally:
            os.close(fd)

    def root_fd(self, key: str, *, writable: bool = True) -> int:
        """A detached overlay mount of the whole root: it is in no mount namespace and goes with its descriptor.

        Read-only, it takes the upper directory as one more lower one: a running container is not disturbed.
        """
        parent, upper = self._parent(key), f"c/{key}/fs"
        self._directories(parent)  # all of them are mounted now
        lower = self._lower(parent)
        if not writable:
            return self._mounts.overlay([upper, *lower])
        fd = self._mounts.overlay(lower, upper, f"c/{key}/work")
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            os.close(fd)
            _raise_hidden(f"{self._root}/c/{key}/work")
        return fd

    def image_fd(self, chain_id: str) -> int:
        """A detached, read-only overlay mount of an image's layers alone."""
        self._directories(chain_id)
        lower = [f"{layer.number}/fs" for layer in self._stack(chain_id)]
        for name in ("empty", "empty2")[: max(2 - len(lower), 0)]:  # overlayfs wants two, or a writable one
            (self._root / "0" / name).mkdir(mode=0o755, parents=True, exist_ok=True)
            lower.append(f"0/{name}")
        return self._mounts.overlay(lower, attributes=_AS_DATA)


def _raise_hidden(work: str) -> NoReturn:
    """overlayfs is read-only, without an error, where it can make nothing in its work directory: raise that error."""
    probe = f"{work}/{secrets.token_hex(8)}"
    os.mkdir(probe)
    os.rmdir(probe)
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), work)
