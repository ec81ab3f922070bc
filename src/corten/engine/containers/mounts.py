"""`-v`, `--mount`, `--tmpfs`, `--volumes-from` and an image's VOLUMEs as one list of mounts: pure, Docker's rules.

Texts of errors are dockerd's (volume/mounts/linux_parser). What has to look at the host (does a source exist) is done
by `volumes.py`.
"""

from __future__ import annotations

import os.path
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

from corten.engine.containers.record import MountRecord
from corten.errors import InvalidArgument
from corten.spec.docker.hostconfig import BindOptions, Mount, TmpfsOptions

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_RW = frozenset({"rw", "ro"})
_LABELS = frozenset({"Z", "z"})
_PROPAGATION = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_CONSISTENCY = frozenset({"consistent", "cached", "delegated"})
_TMPFS_FLAGS = frozenset(
    [
        "ro",
        "rw",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "sync",
        "async",
        "dirsync",
        "remount",
        "mand",
        "nomand",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "bind",
        "rbind",
        "unbindable",
        "runbindable",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
    ]
)
_TMPFS_VALUES = frozenset({"mode", "size", "nr_inodes", "nr_blocks", "mpol", "uid", "gid"})
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")
_PATH_LIMIT = 4096


class InvalidMount(InvalidArgument):
    """A mount that cannot be."""

    code = "invalid-mount"


def _clean(path: str) -> str:
    return os.path.normpath(path) if path != "//" else "/"


def _check_destination(target: str, shown: str) -> str:
    if "\0" in target or len(target) > _PATH_LIMIT:
        raise InvalidMount(f"{shown}: invalid mount path: {target[:64]!r}")
    if not target.startswith("/"):
        raise InvalidMount(f"{shown}: invalid mount path: '{target}' mount path must be absolute")
    clean = _clean("/" + target.lstrip("/"))
    if clean == "/":
        raise InvalidMount(f"{shown}: invalid specification: destination can't be '/'")
    return clean


def is_mode(mode: str) -> bool:
    """Whether `mode` is a list of bind modes as `-v src:dst:mode` takes it: each kind at most once."""
    seen: set[str] = set()
    for word in mode.split(","):
        kind = next(
            (
                name
                for name, words in (
                    ("rw", _RW),
                    ("label", _LABELS),
                    ("propagation", _PROPAGATION),
                    ("consistency", _CONSISTENCY),
                    ("copy", frozenset({"nocopy"})),
                )
                if word in words
            ),
            "",
        )
        if not kind or kind in seen:
            return False
        seen.add(kind)
    return True


def _propagation(mode: str) -> str:
    return next((word for word in mode.split(",") if word in _PROPAGATION), "")


def _split_bind(spec: str) -> tuple[str, str, str]:
    """(source or "", destination, mode)."""
    wrong = f"invalid volume specification: '{spec}'"
    if "\0" in spec or len(spec) > 3 * _PATH_LIMIT:
        raise InvalidMount("invalid volume specification: contains a null byte or is too long")
    parts = spec.split(":")
    if len(parts) > 3 or not parts[0]:
        raise InvalidMount(wrong)
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:
        if is_mode(parts[1]):
            raise InvalidMount(wrong)
        return parts[0], parts[1], ""
    if not is_mode(parts[2]):
        raise InvalidMount(f"invalid mode: {parts[2]}")
    return parts[0], parts[1], parts[2]


def parse_bind(spec: str, volume_driver: str = "") -> MountRecord:
    """`source:destination[:mode]`. Raises InvalidMount."""
    source, destination, mode = _split_bind(spec)
    kind = "bind" if source.startswith("/") else "volume"
    target = _check_destination(
        destination, f"invalid volume specification: '{spec}': invalid mount config for type \"{kind}\""
    )
    words = mode.split(",")
    read_only = "ro" in words
    if kind == "bind":
        if "nocopy" in words:
            raise InvalidMount(f"invalid mode: {mode}")
        return MountRecord(
            type="bind",
            source=_clean(source),
            destination=target,
            mode=mode,
            read_only=read_only,
            propagation=_propagation(mode) or "rprivate",
            must_exist=False,
            read_only_recursive=False,
            from_spec=True,
        )
    if _propagation(mode):
        raise InvalidMount(f"invalid mode: {mode}")
    if source and not _VOLUME_NAME.match(source):
        raise InvalidMount(_bad_volume_name(source))
    return MountRecord(
        type="volume",
        name=source,
        driver=volume_driver or "local",
        destination=target,
        mode=mode or ("z" if source else ""),
        read_only=read_only,
        copy_up="nocopy" not in words,
        anonymous=not source,
        from_spec=True,
    )


def _bad_volume_name(name: str) -> str:
    return (
        f'create {name}: "{name}" includes invalid characters for a local volume name, '
        'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. '
        "If you intended to pass a host directory, use absolute path"
    )


def parse_mount(mount: Mount) -> MountRecord:
    """One entry of HostConfig.Mounts. Raises InvalidMount."""
    shown = f'invalid mount config for type "{mount.type}"'
    if not mount.target:
        raise InvalidMount(f"{shown}: field Target must not be empty")
    parsers: dict[str, Callable[[Mount, str], MountRecord]] = {
        "bind": _parse_bind_mount,
        "volume": _parse_volume_mount,
        "tmpfs": _parse_tmpfs_mount,
    }
    parser = parsers.get(mount.type)
    if parser is None:
        if mount.type in ("image", "cluster", "npipe"):
            raise InvalidMount(f"{shown}: mount type {mount.type} is not supported by this engine")
        raise InvalidMount(f"{shown}: mount type unknown")
    target = _check_destination(mount.target, shown)
    for kind, given in (
        ("Bind", mount.bind_options),
        ("Volume", mount.volume_options),
        ("Tmpfs", mount.tmpfs_options),
        ("Image", mount.image_options),
    ):
        if given is not None and kind.lower() != mount.type:
            raise InvalidMount(f"{shown}: field {kind}Options must not be specified")
    return parser(mount, target)


def _parse_bind_mount(mount: Mount, target: str) -> MountRecord:
    shown = 'invalid mount config for type "bind"'
    options = mount.bind_options or BindOptions()
    if not mount.source:
        raise InvalidMount(f"{shown}: field Source must not be empty")
    if not mount.source.startswith("/"):
        raise InvalidMount(f"{shown}: invalid mount path: '{mount.source}' mount path must be absolute")
    if options.propagation and options.propagation not in _PROPAGATION:
        raise InvalidMount(f"{shown}: invalid propagation mode: {options.propagation}")
    if options.read_only_force_recursive and not mount.read_only:
        raise InvalidMount(f"{shown}: option 'ReadOnlyForceRecursive' requires a read-only mount")
    return MountRecord(
        type="bind",
        source=_clean(mount.source),
        destination=target,
        read_only=mount.read_only,
        propagation=options.propagation or "rprivate",
        recursive=not options.non_recursive,
        read_only_recursive=not options.read_only_non_recursive,
        must_exist=not options.create_mountpoint,
        from_spec=True,
    )


def _parse_volume_mount(mount: Mount, target: str) -> MountRecord:
    shown = 'invalid mount config for type "volume"'
    options = mount.volume_options
    if mount.source and not _VOLUME_NAME.match(mount.source):
        raise InvalidMount(f"{shown}: {_bad_volume_name(mount.source)}")
    if options is not None and options.subpath:
        raise InvalidMount(f"{shown}: field VolumeOptions.Subpath is not supported by this engine")
    driver = options.driver_config.name if options and options.driver_config else ""
    return MountRecord(
        type="volume",
        name=mount.source,
        driver=driver or "local",
        destination=target,
        mode="z",
        read_only=mount.read_only,
        copy_up=not (options is not None and options.no_copy),
        anonymous=not mount.source,
        from_spec=True,
    )


def _parse_tmpfs_mount(mount: Mount, target: str) -> MountRecord:
    shown = 'invalid mount config for type "tmpfs"'
    if mount.source:
        raise InvalidMount(f"{shown}: field Source must not be specified")
    options = mount.tmpfs_options or TmpfsOptions()
    words = ["ro" if mount.read_only else "rw"]
    if options.mode:
        words.append(f"mode={options.mode:o}")
    if options.size_bytes:
        words.append(f"size={options.size_bytes}")
    words += ["=".join(pair[:2]) for pair in options.options or ()]
    return MountRecord(
        type="tmpfs", destination=target, read_only=mount.read_only, options=tuple(_tmpfs_options(words, target))
    )


def parse_tmpfs(path: str, text: str) -> MountRecord:
    """One entry of HostConfig.Tmpfs (`--tmpfs path:options`). Raises InvalidMount."""
    target = _check_destination(path, 'invalid mount config for type "tmpfs"')
    words = [word for word in text.split(",") if word]
    return MountRecord(
        type="tmpfs", destination=target, read_only="ro" in words, options=tuple(_tmpfs_options(words, target))
    )


def _tmpfs_options(words: Sequence[str], target: str) -> list[str]:
    options = list(_TMPFS_DEFAULTS)
    for word in words:
        name, equals, _value = word.partition("=")
        if not (name in _TMPFS_VALUES and equals) and (word not in _TMPFS_FLAGS or equals):
            raise InvalidMount(f'invalid tmpfs option "{word[:64]}" for {target}')
        options.append(word)
    return options


def parse_volumes_from(spec: str) -> tuple[str, str]:
    """`container[:mode]`. Raises InvalidMount."""
    container, _colon, mode = spec.partition(":")
    if not container:
        raise InvalidMount(f'malformed volumes-from specification: "{spec[:64]}"')
    mode = mode or "rw"
    if not is_mode(mode) or "nocopy" in mode.split(",") or _propagation(mode):
        raise InvalidMount(f"invalid mode: {mode}")
    return container, mode


def inherited(mounts: Iterable[MountRecord], mode: str) -> list[MountRecord]:
    """Another container's volumes and binds, as `--volumes-from` takes them over."""
    import msgspec

    read_only = "ro" in mode.split(",")
    return [
        msgspec.structs.replace(
            mount, read_only=mount.read_only or read_only, copy_up=False, from_spec=True, anonymous=False
        )
        for mount in mounts
        if mount.type in ("bind", "volume")
    ]


def plan_mounts(
    *,
    binds: Sequence[str],
    mounts: Sequence[Mount],
    tmpfs: Mapping[str, str],
    image_volumes: Iterable[str],
    taken_over: Sequence[MountRecord] = (),
    volume_driver: str = "",
) -> list[MountRecord]:
    """All mounts of a container, one for each destination. Raises InvalidMount with Docker's texts.

    Binds and mounts replace what volumes-from brings; a destination given twice is an error. An image's volume, or an
    anonymous one, gives way to anything else at its place.
    """
    given: dict[str, MountRecord] = {}
    for record in (*(parse_bind(spec, volume_driver) for spec in binds), *(parse_mount(mount) for mount in mounts)):
        if record.destination in given:
            raise InvalidMount(f"Duplicate mount point: {record.destination}")
        given[record.destination] = record
    for path, text in tmpfs.items():
        record = parse_tmpfs(path, text)
        if record.destination in given:
            raise InvalidMount(f"Duplicate mount point: {record.destination}")
        given[record.destination] = record
    result = {record.destination: record for record in taken_over}
    result.update(given)
    for path in image_volumes:
        target = _check_destination(path if path.startswith("/") else f"/{path}", "invalid volume of the image")
        if target not in result:
            result[target] = MountRecord(
                type="volume", driver=volume_driver or "local", destination=target, copy_up=True, anonymous=True
            )
    return list(result.values())


def anonymous_name() -> str:
    """A name for a volume that was given none."""
    return secrets.token_hex(32)
