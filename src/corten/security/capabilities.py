"""Which capabilities a container gets: Docker's default set, and `--cap-add`, `--cap-drop`, `--privileged`. Pure.

Names are OCI's (`CAP_CHOWN`); numbers and system calls are in corten.linux. Daemon, and `corten oci spec`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from corten.errors import InvalidArgument
from corten.linux import capabilities as kernel

ALL = "ALL"

DEFAULT: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)


@lru_cache(maxsize=1)
def available() -> tuple[str, ...]:
    """What this process can give away: all of the kernel's capabilities that it holds itself."""
    own = kernel.of_process()
    return tuple(kernel.to_names(own.permitted & own.bounding))


def normalize(names: Iterable[str]) -> list[str]:
    """Names as users write them (any case, with or without CAP_, ALL) as OCI names.

    Raises InvalidArgument for a name that the kernel does not have.
    """
    result: list[str] = []
    for name in names:
        full = name.upper()
        if full != ALL:
            full = full if full.startswith("CAP_") else f"CAP_{full}"
            if kernel.unknown((full,)):
                raise InvalidArgument(f"unknown capability: {json.dumps(full)}")
        result.append(full)
    return result


def validate(add: Iterable[str], drop: Iterable[str]) -> None:
    """Raise InvalidArgument as `docker create` answers a wrong name: `invalid CapAdd: unknown capability: "CAP_X"`."""
    for field, names in (("CapAdd", add), ("CapDrop", drop)):
        try:
            normalize(names)
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid {field}: {error.message}") from error


def effective_caps(
    add: Iterable[str] = (),
    drop: Iterable[str] = (),
    privileged: bool = False,
    *,
    held: Sequence[str] | None = None,
) -> list[str]:
    """The container's capabilities by Docker's rules; `held` is what can be given (this process's own if None).

    Privileged: all, whatever is dropped. ALL added: all but the dropped. ALL dropped: exactly the added ones.
    Else the default set, less the dropped, plus the added. Raises InvalidArgument.
    """
    validate(add := list(add), drop := list(drop))
    everything = list(available() if held is None else held)
    if privileged:
        return everything
    added, dropped = normalize(add), normalize(drop)
    if ALL in added:
        return [name for name in everything if name not in dropped]
    base = [] if ALL in dropped else [name for name in DEFAULT if name not in dropped]
    return list(dict.fromkeys([*base, *added]))
