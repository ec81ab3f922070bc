"""The OCI `process` of an exec: the container's own, with what the exec asks for. Daemon."""

from __future__ import annotations

import os
from typing import Any

from corten.engine.containers.collaborators import Snapshots
from corten.engine.containers.launch import Launcher, capabilities_of
from corten.engine.containers.live import Container
from corten.engine.containers.namespaces import hostname_of
from corten.engine.containers.oci_spec import capability_sets, environment, user_of
from corten.engine.containers.security import parse_security_options
from corten.engine.containers.users import Accounts, Identity, read_accounts, resolve_user
from corten.errors import InvalidArgument, NotFound
from corten.lib import blocking
from corten.security.capabilities import effective_caps
from corten.spec.docker.exec import ExecCreateRequest


async def exec_process(
    container: Container, request: ExecCreateRequest, command: list[str], launcher: Launcher, snapshots: Snapshots
) -> dict[str, Any]:
    """Raises InvalidArgument (user, directory)."""
    record = container.record
    config, host = record.config, record.host_config
    if request.working_dir and not request.working_dir.startswith("/"):
        raise InvalidArgument(
            f"OCI runtime exec failed: exec failed: Cwd must be an absolute path: {request.working_dir}"
        )
    identity = await _identity(container, request, launcher, snapshots)
    caps = effective_caps(privileged=True) if request.privileged else capabilities_of(record)
    hostname = hostname_of(host, config.hostname, record.id, launcher.find)
    options = parse_security_options(host.security_opt or (), no_new_privileges=launcher.no_new_privileges)
    process: dict[str, Any] = {
        "terminal": request.tty,
        "user": user_of(identity),
        "args": command,
        "env": environment(
            [*(config.env or ()), *(request.env or ())], hostname, linked=_linked(container, launcher), tty=request.tty
        ),
        "cwd": request.working_dir or config.working_dir or "/",
        "capabilities": capability_sets(caps, identity.uid),
        "noNewPrivileges": options.no_new_privileges,
    }
    limits = launcher.rlimits(record)
    if limits:
        process["rlimits"] = limits
    return process


def _linked(container: Container, launcher: Launcher) -> list[str]:
    """The variables of links, while those linked to run: an exec needs none of them (dockerd refuses it)."""
    try:
        return launcher.linked(container)
    except (InvalidArgument, NotFound):
        return []


async def _identity(
    container: Container, request: ExecCreateRequest, launcher: Launcher, snapshots: Snapshots
) -> Identity:
    """Users as the running container has them: it may have made some."""
    record = container.record
    rootfs = snapshots.rootfs(record.id)
    spec = request.user or record.config.user
    accounts = launcher.accounts.cached(record.image_id, rootfs)
    if accounts is None:  # it has made users, or the daemon is new: read what it has now
        accounts = await blocking.run(_running_accounts, record.status.pid)
    return resolve_user(spec, record.host_config.group_add or (), accounts)


def _running_accounts(pid: int) -> Accounts:
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument(f"the container's root cannot be read: {error.strerror}") from error
    try:
        return read_accounts(root)
    finally:
        os.close(root)
