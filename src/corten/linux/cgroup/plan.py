"""OCI `linux.resources` as lists of cgroup writes: the words v1 and v2 share, and what applies a plan. Stdlib only.

`v1_plan` and `v2_plan` decide (pure), `execute` writes. A limit that was asked for and that this kernel cannot
enforce is an error: a container never runs with less protection than its spec says.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from corten.errors import FailedPrecondition, InvalidArgument
from corten.linux.cgroup.files import write_text
from corten.linux.errors import SyscallError


class LimitUnsupported(FailedPrecondition):
    """A limit was asked for and this machine's cgroups cannot enforce it."""

    code = "limit-unsupported"


class Write(NamedTuple):
    """A value for a file. `choices` are (file, value) alternatives, as names differ by kernel: the first that exists.

    With `optional` nothing is lost when no such file exists (the value means "no limit").
    """

    controller: str
    choices: tuple[tuple[str, str], ...]
    what: str
    optional: bool = False


# Writes of one group may depend on each other (a quota on its period, memory on memory+swap): each is tried until
# none gets further, whatever the order in which the kernel wants them.
Group = list[Write]


def one(controller: str, file: str, value: object, what: str, *, optional: bool = False) -> Group:
    """A group of a single write."""
    return [Write(controller, ((file, str(value)),), what, optional)]


def integer(section: Mapping[str, Any], name: str, *, low: int = -1) -> int | None:
    """The integer `name` of a resources section, or None. Raises InvalidArgument for another type or below `low`."""
    value = section.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 1 << 64:
        raise InvalidArgument(f"invalid resource limit {name}: {value!r}")
    return value


def section(resources: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object `name` of the resources, empty when it is absent."""
    value = resources.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"invalid resources section {name}: must be an object")
    return value


def entries(section: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    """The list of objects `name`, empty when it is absent."""
    value = section.get(name) or ()
    if not isinstance(value, (list, tuple)):
        raise InvalidArgument(f"invalid resources list {name}")
    return value


def limit(value: int) -> str:
    """`max` for the negative numbers by which OCI says "no limit"."""
    return "max" if value < 0 else str(value)


def name_part(value: object, what: str) -> str:
    """A name that becomes part of a file name or of a line: no slash, blank or control character."""
    text = str(value)
    if not text or "/" in text or any(char <= " " for char in text):
        raise InvalidArgument(f"invalid {what} {text!r}")
    return text


def execute(plan: Iterable[Group], directory: Callable[[str], str | None]) -> None:
    """Carry out `plan`; `directory(controller)` is the cgroup's directory, None when the controller is absent.

    Raises LimitUnsupported before the first write, OSError from a write.
    """
    groups = [[step for write in group if (step := _resolve(write, directory))] for group in plan]
    for group in groups:
        _write_group(group)


Step = tuple[str, str, str]  # path, value, what


def _resolve(write: Write, directory: Callable[[str], str | None]) -> Step | None:
    base = directory(write.controller)
    if base is not None:
        for name, value in write.choices:
            path = f"{base}/{name}"
            if os.path.exists(path):
                return path, value, write.what
    if write.optional:
        return None
    if base is None:
        raise LimitUnsupported(
            f"cannot set {write.what}: the cgroup controller {write.controller!r} is not available on this machine",
            hint=f"mount or enable the {write.controller} controller, or leave the limit out",
        )
    names = " or ".join(name for name, _ in write.choices)
    raise LimitUnsupported(
        f"cannot set {write.what}: this machine's cgroups have no {names}",
        hint=f"enable the {write.controller} controller (cgroup.subtree_control), or leave the limit out",
    )


def _write_group(group: list[Step]) -> None:
    while group:
        again: list[Step] = []
        failure: OSError | None = None
        for step in group:
            try:
                write_text(step[0], step[1])
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EBUSY):
                    raise _failure(error, step) from error
                failure = failure or error
                again.append(step)
        if failure is not None and len(again) == len(group):
            raise _failure(failure, again[0]) from failure
        group = again


def _failure(error: OSError, step: Step) -> SyscallError:
    path, value, what = step
    return SyscallError(error.errno or 0, "write", path, f"setting the {what} to {value!r}")
