"""Wire types of exec instances, as the Docker API spells them. Pure data."""

from __future__ import annotations

import msgspec

from corten.spec.docker.hostconfig import Int64


class ExecCreateRequest(msgspec.Struct, rename="pascal", kw_only=True):
    """Body of POST /containers/{id}/exec."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[Int64] | None = None
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: list[str] | None = None
    working_dir: str = ""
    cmd: list[str] | str | None = None


class ExecCreateResponse(msgspec.Struct, rename="pascal", kw_only=True):
    """Reply of exec create."""

    id: str


class ExecStartRequest(msgspec.Struct, rename="pascal", kw_only=True):
    """Body of POST /exec/{id}/start."""

    detach: bool = False
    tty: bool = False
    console_size: list[Int64] | None = None


class ProcessConfig(msgspec.Struct, kw_only=True):
    """ProcessConfig of exec inspect; its names are lower-case on the wire."""

    tty: bool
    entrypoint: str
    arguments: list[str]
    privileged: bool
    user: str | msgspec.UnsetType = msgspec.UNSET


class ExecInspect(msgspec.Struct, kw_only=True):
    """Reply of GET /exec/{id}/json. ExitCode is null while the process runs."""

    id: str = msgspec.field(name="ID")
    running: bool = msgspec.field(name="Running")
    exit_code: int | None = msgspec.field(name="ExitCode")
    process_config: ProcessConfig = msgspec.field(name="ProcessConfig")
    open_stdin: bool = msgspec.field(name="OpenStdin")
    open_stderr: bool = msgspec.field(name="OpenStderr")
    open_stdout: bool = msgspec.field(name="OpenStdout")
    can_remove: bool = msgspec.field(name="CanRemove", default=False)
    container_id: str = msgspec.field(name="ContainerID")
    detach_keys: str = msgspec.field(name="DetachKeys", default="")
    pid: int = msgspec.field(name="Pid", default=0)
