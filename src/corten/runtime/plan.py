"""A start as a list of steps: pure, from the request that the parent sent. Called in init and in joining processes.

The order is that of runc and crun where others can see it, and otherwise: namespaces, network, root, mounts, names,
hooks, masks, pivot_root, then everything that gives up privileges; seccomp and execve follow when the parent says go.
Nothing here touches the system. What no step can do raises ValueError, worded for the person who wrote the spec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corten.runtime.hooks import container_state
from corten.runtime.mountplan import device_steps, mount_steps, uses_own_dev
from corten.runtime.steps.base import Step
from corten.runtime.steps.command import PrepareCommand
from corten.runtime.steps.console import JoinConsole, OpenConsole, UseStdio
from corten.runtime.steps.hooks import ContainerHooks, ParentHooks
from corten.runtime.steps.identity import SetNames, SetSysctls
from corten.runtime.steps.masks import MaskPaths, ReadOnlyPaths
from corten.runtime.steps.mounts import PrivateProc
from corten.runtime.steps.namespaces import DetachFromHost, EnterNamespaces, JoinKeyring, NewNamespaces
from corten.runtime.steps.network import ConfigureInterfaces
from corten.runtime.steps.privileges import (
    CAPABILITY_SETS,
    ChangeDirectory,
    DropPrivileges,
    SetNoNewPrivileges,
    SetPersonality,
    SetSecurityLabel,
)
from corten.runtime.steps.rootfs import (
    AttachRoot,
    BindRoot,
    IsolateParentMount,
    MountOverlayRoot,
    MoveRoot,
    PivotRoot,
    ReadOnlyRoot,
)

_ENTER_ORDER = ("ipc", "uts", "network", "time", "cgroup", "mount")
_UNSHARE_ORDER = ("ipc", "uts", "network", "cgroup", "mount")
# sysctls that belong to the IPC namespace besides fs.mqueue.*; the UTS one has domainname, hostname has its own field.
_IPC_SYSCTLS = frozenset(
    {
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    }
)


def namespace_kinds(spec: Mapping[str, Any]) -> dict[str, str]:
    """The namespaces that the spec names: path by type, "" for a new one. Raises ValueError."""
    result: dict[str, str] = {}
    for entry in (spec.get("linux") or {}).get("namespaces") or ():
        kind = entry.get("type", "")
        if kind in result:
            raise ValueError(f"malformed spec file: duplicated ns {kind!r}")
        result[kind] = entry.get("path") or ""
    return result


def check_spec(spec: Mapping[str, Any]) -> None:
    """What must hold before a container can be made of `spec`. Raises ValueError, worded as runc's."""
    if not spec.get("process"):
        raise ValueError("process property must not be empty")
    if not (spec["process"].get("args") or ()):
        raise ValueError("process.args must not be empty")
    cwd = spec["process"].get("cwd") or "/"
    if not cwd.startswith("/"):
        raise ValueError(f"Cwd must be an absolute path: {cwd!r}")
    kinds = namespace_kinds(spec)
    if "mount" not in kinds:
        raise ValueError("a container needs a mount namespace, new or by path: without one it would change the host's")
    if (spec.get("hostname") or spec.get("domainname")) and "uts" not in kinds:
        raise ValueError("unable to set hostname without a private UTS namespace")
    linux = spec.get("linux") or {}
    if (linux.get("uidMappings") or linux.get("gidMappings")) and "user" not in kinds:
        raise ValueError("userns mappings specified, but USER namespace isn't enabled in the config")
    check_sysctls(linux.get("sysctl") or {}, kinds)


def check_sysctls(values: Mapping[str, str], kinds: Mapping[str, str]) -> None:
    """Refuse sysctls that would change the host. Raises ValueError, worded as runc's."""
    for key in values:
        name = key.replace("/", ".")
        if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
            needed = "ipc"
        elif name.startswith("net."):
            needed = "network"
        elif name == "kernel.domainname":
            needed = "uts"
        elif name == "kernel.hostname":
            raise ValueError('sysctl "kernel.hostname" is not allowed: set the hostname field')
        elif name.startswith("user.") and "user" in kinds:
            continue
        else:
            raise ValueError(f'sysctl "{key}" is not in a separate kernel namespace')
        if needed not in kinds:
            raise ValueError(f'sysctl "{key}" is not allowed in the hosts {needed} namespace')


def plan_container(request: Mapping[str, Any]) -> list[Step]:
    """The steps that make a container of `request`, up to where execve is all that is left. Raises ValueError."""
    spec = request["spec"]
    check_spec(spec)
    steps: list[Step] = []
    steps += _namespace_steps(request)
    steps += _root_steps(request)
    steps += mount_steps(request)
    steps += device_steps(request)
    if spec.get("hostname") or spec.get("domainname"):
        steps.append(SetNames(spec.get("hostname") or "", spec.get("domainname") or ""))
    linux = spec.get("linux") or {}
    if linux.get("sysctl"):
        # Before /proc/sys becomes read-only: the write may cross no mount.
        steps.append(SetSysctls(linux["sysctl"]))
    process = spec["process"]
    if process.get("terminal"):
        width, height = _console_size(process)
        steps.append(OpenConsole(width=width, height=height, bind=uses_own_dev(spec)))
    steps += _seal_steps(request)
    if linux.get("personality"):
        steps.append(SetPersonality(linux["personality"].get("domain", "LINUX")))
    return [*steps, *_process_steps(request, process, create_cwd=True)]


def plan_exec(request: Mapping[str, Any]) -> list[Step]:
    """The steps of a process that joins a container. Raises ValueError."""
    process = request["process"]
    if not (process.get("args") or ()):
        raise ValueError("process.args must not be empty")
    steps: list[Step] = []
    if request.get("keyring"):
        steps.append(JoinKeyring(request["keyring"]))
    if process.get("terminal"):
        width, height = _console_size(process)
        steps.append(JoinConsole(width=width, height=height))
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        steps.append(PrivateProc())
    return [*steps, *_process_steps(request, process, create_cwd=False)]


def start_hooks(request: Mapping[str, Any]) -> Step | None:
    """The startContainer hooks, which run when the parent has said go."""
    hooks = (request["spec"].get("hooks") or {}).get("startContainer")
    return ContainerHooks("startContainer", hooks, _state(request, "created")) if hooks else None


def _namespace_steps(request: Mapping[str, Any]) -> Iterator[Step]:
    entered = [kind for kind in _ENTER_ORDER if kind in request["enter"]]
    if entered:
        yield EnterNamespaces(entered)
    made = [kind for kind in _UNSHARE_ORDER if kind in request["unshare"]]
    if made:
        yield NewNamespaces(made)
    if request.get("keyring"):
        yield JoinKeyring(request["keyring"])
    if "network" in request["own"]:
        yield ConfigureInterfaces(request["interfaces"])


def _root_steps(request: Mapping[str, Any]) -> Iterator[Step]:
    spec, rootfs = request["spec"], request.get("rootfs")
    propagation = (spec.get("linux") or {}).get("rootfsPropagation") or ""
    yield DetachFromHost(propagation)
    if request.get("root_prepared"):
        place = "/"
    elif rootfs and rootfs["type"] == "overlay":
        place = rootfs["dir"]
    else:
        place = rootfs["source"] if rootfs else spec["root"]["path"]
    if "shared" in propagation:
        yield IsolateParentMount(place)
    if request.get("root_prepared"):
        yield AttachRoot(place)
    elif rootfs and rootfs["type"] == "overlay":
        yield MountOverlayRoot(rootfs)
    elif rootfs and rootfs["type"] != "bind":
        raise ValueError(f"unknown kind of root {rootfs['type']!r}")
    else:
        yield BindRoot(place)


def _seal_steps(request: Mapping[str, Any]) -> Iterator[Step]:
    """Hooks, then what makes the tree final, then pivot_root."""
    spec = request["spec"]
    linux, hooks = spec.get("linux") or {}, spec.get("hooks") or {}
    if hooks.get("prestart") or hooks.get("createRuntime"):
        yield ParentHooks()
    if hooks.get("createContainer"):
        yield ContainerHooks("createContainer", hooks["createContainer"], _state(request, "creating"))
    if linux.get("readonlyPaths"):
        yield ReadOnlyPaths(linux["readonlyPaths"])
    if linux.get("maskedPaths"):
        yield MaskPaths(linux["maskedPaths"])
    if (spec.get("root") or {}).get("readonly"):
        yield ReadOnlyRoot()
    yield MoveRoot() if request.get("no_pivot") else PivotRoot(linux.get("rootfsPropagation") or "")


def _process_steps(request: Mapping[str, Any], process: Mapping[str, Any], *, create_cwd: bool) -> Iterator[Step]:
    user = process.get("user") or {}
    cwd = process.get("cwd") or "/"
    yield UseStdio(user.get("uid") or 0)
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        yield SetSecurityLabel(process.get("apparmorProfile") or "", process.get("selinuxLabel") or "")
    yield ChangeDirectory(cwd, early=True, create=create_cwd)
    no_new_privileges = bool(process.get("noNewPrivileges"))
    keep_admin = bool(request.get("seccomp")) and not no_new_privileges
    sets = request.get("capabilities") or dict.fromkeys(CAPABILITY_SETS, 0)
    yield DropPrivileges(user, sets, keep_admin=keep_admin)
    if no_new_privileges:
        yield SetNoNewPrivileges()
    yield ChangeDirectory(cwd, early=False)
    yield PrepareCommand(process["args"], process.get("env") or (), user.get("uid") or 0)


def _console_size(process: Mapping[str, Any]) -> tuple[int, int]:
    size = process.get("consoleSize") or {}
    return size.get("width") or 0, size.get("height") or 0


def _state(request: Mapping[str, Any], status: str) -> dict[str, Any]:
    return container_state(
        container_id=request["id"],
        status=status,
        pid=request["pid"],
        bundle=request["bundle"],
        annotations=request["spec"].get("annotations"),
    )


def describe(steps: Sequence[Step]) -> list[str]:
    """One line for each step, for people and tests."""
    return [step.describe() for step in steps]
