"""RUN: a command in the stage's file system. Pure; daemon."""

from __future__ import annotations

import csv
import posixpath
from dataclasses import dataclass, replace
from typing import Self

from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.expansion import Expansion
from corten.build.dockerfile.flags import Flags
from corten.build.dockerfile.heredoc import Heredoc, check_file_name, parse_heredoc
from corten.build.dockerfile.instruction import Command, Instruction, Places, parse_command
from corten.build.dockerfile.mounts import MountOptions, id_of, parse_mount, source_of, target_of
from corten.build.dockerfile.parser import Node
from corten.build.dockerfile.state import StageState
from corten.build.dockerfile.words import quoted
from corten.build.graph import Vertex
from corten.build.operations import Device, InlineFiles, Mount
from corten.build.operations import Run as RunOperation
from corten.errors import InvalidArgument
from corten.network.egress import parse_rules, split_rules
from corten.network.egress_common import common_rules

NETWORKS = ("default", "none", "host")
SECURITY = ("sandbox", "insecure")
_SCRIPTS = "/dev/pipes/"
_DEFAULT_MODES = {"secret": 0o400, "ssh": 0o600}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Instruction):
    """A command with what it is given. The shell expands its variables, not the build; but mounts have some.

    `mounts` are empty until it is expanded; `network` and `security` are empty where it says nothing. `egress` is what
    the comment above it lets it reach, None without one.
    """

    keyword = "RUN"
    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mount_texts: tuple[str, ...] = ()
    mounts: tuple[MountOptions, ...] = ()
    network: str = ""
    security: str = ""
    devices: tuple[Device, ...] = ()
    egress: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, node: Node) -> Self:
        """`[--mount=...] [--network=...] [--security=...] [--device=...] command`."""
        flags = Flags(node, texts=("network", "security"), lists=("mount", "device"))
        for flag, known, name in (("network", NETWORKS, "network mode"), ("security", SECURITY, "security mode")):
            if flags.has(flag) and flags.text(flag) not in known:
                raise node.error(f"invalid {name} {quoted(flags.text(flag))}")
        run = cls(
            node=node,
            command=parse_command(node),
            heredocs=node.heredocs,
            mount_texts=flags.list_("mount"),
            network=flags.text("network"),
            security=flags.text("security"),
        )
        try:
            for text in run.mount_texts:
                source_of(text)
            run = replace(run, egress=_egress(node))
            if run._script is not None:
                check_file_name(run._script)
            return replace(run, devices=tuple(_device(text) for text in flags.list_("device")))
        except ValueError as error:
            raise node.error(str(error)) from error

    @property
    def sources(self) -> tuple[str, ...]:
        """Where mounts come from."""
        return tuple(source for text in self.mount_texts if (source := source_of(text)))

    def expand(self, expansion: Expansion) -> Self:
        """Mounts have variables."""
        return replace(self, mounts=tuple(parse_mount(text, expansion.word) for text in self.mount_texts))

    def apply(self, state: StageState) -> StageState:
        """The configuration stays; what can be known to fail, fails here."""
        if not any(self._arguments(state)):
            raise ValueError("RUN requires at least one argument")
        for number, mount in self._numbered():
            target_of(mount, state.working_dir, number)
        return state

    def _arguments(self, state: StageState) -> list[str]:
        """What is executed: a script with its own interpreter, or words, or a line for the shell."""
        if not self.heredocs:
            return self.command.arguments(state)
        if self._script is not None:
            return [_SCRIPTS + self._script.name]
        line = self.command.words[0]
        if len(self.heredocs) == 1 and parse_heredoc(line) is not None:
            return [*state.shell, self.heredocs[0].text]
        # for the shell, which reads here-documents itself
        return [*state.shell, line + "".join(f"\n{h.content}{h.name}" for h in self.heredocs)]

    @property
    def _script(self) -> Heredoc | None:
        """The here-document that names its own interpreter, alone on the line."""
        if len(self.heredocs) != 1 or parse_heredoc(self.command.words[0]) is None:
            return None
        return self.heredocs[0] if self.heredocs[0].text.startswith("#!") else None

    def created_by(self, state: StageState) -> str:
        """The command, with the ARGs that it may have seen: `RUN |1 A=b /bin/sh -c make # buildkit`."""
        given = [f"{name}={state.environment.get(name, value)}" for name, value in state.arguments]
        words = [f"|{len(given)}", *given] if given else []
        return " ".join([self.keyword, *words, *self._arguments(state), "# buildkit"])

    def lower(self, root: Vertex, state: StageState, places: Places) -> Vertex:
        """A command on `root`, with the file systems that mounts bring."""
        inputs = [root]
        mounts = [self._mount(mount, number, state, places, inputs) for number, mount in self._numbered()]
        if self._script is not None:
            script = InlineFiles(files=((self._script.name, self._script.text.encode()),), mode=0o755)
            inputs.append(Vertex(script, name=self.node.text, lines=self.node.lines))
            mounts.append(Mount(kind="bind", target=_SCRIPTS, input=len(inputs) - 1, source="/", read_only=True))
        operation = RunOperation(
            args=tuple(self._arguments(state)),
            env=tuple(f"{name}={value}" for name, value in state.environment.items()),
            secret_env=places.hidden_environment,
            user=state.config.user,
            working_dir=state.working_dir,
            network=self.network if self.network not in ("", "default") else places.network or "default",
            hosts=places.hosts,
            egress=self._egress(places),
            security=self.security or "sandbox",
            mounts=tuple(mounts),
            devices=self.devices,
        )
        return Vertex(operation, tuple(inputs), name=self.node.text, lines=self.node.lines)

    def _numbered(self) -> list[tuple[int, MountOptions]]:
        """The mounts, each with how many agents are before it: sockets are called by that number."""
        return [
            (sum(before.kind == "ssh" for before in self.mounts[:at]), mount) for at, mount in enumerate(self.mounts)
        ]

    def _egress(self, places: Places) -> tuple[str, ...] | None:
        """What both the client and the comment above let the command reach. Raises DockerfileError."""
        if self.egress is None or places.egress is None:
            return places.egress if self.egress is None else self.egress
        rules = common_rules(places.egress, self.egress)
        try:
            parse_rules(rules)
        except InvalidArgument as error:
            raise DockerfileError(str(error), lines=self.node.lines) from error
        return rules

    def _mount(
        self, mount: MountOptions, number: int, state: StageState, places: Places, inputs: list[Vertex]
    ) -> Mount:
        source = 0
        if mount.kind == "bind" or (mount.kind == "cache" and mount.from_):
            inputs.append(places.find(mount.from_))
            source = len(inputs) - 1
        is_cache = mount.kind == "cache"
        name = id_of(mount) if mount.kind in ("cache", "secret", "ssh") else ""
        return Mount(
            kind=mount.kind,
            target=target_of(mount, state.working_dir, number),
            input=source,
            source=posixpath.normpath(posixpath.join("/", mount.source)) if source else "",
            read_only=mount.is_read_only,
            id=f"{places.cache_namespace}/{name}" if is_cache and places.cache_namespace else name,
            sharing=mount.sharing or "shared",
            size=mount.size_bytes,
            mode=_DEFAULT_MODES.get(mount.kind, 0o755) if mount.mode is None else mount.mode,
            uid=mount.uid or 0,
            gid=mount.gid or 0,
            required=mount.required,
            env=mount.env if mount.env is not None else "",
        )


def _egress(node: Node) -> tuple[str, ...] | None:
    """The list of `# corten:egress=...` above the instruction. Raises ValueError."""
    texts = [value for name, value in node.settings if name == "egress"]
    if not texts:
        return None
    if not all(texts):
        raise ValueError("corten:egress has no rules: none is written as `none`")
    try:
        parse_rules(texts)
    except InvalidArgument as error:
        raise ValueError(str(error)) from error
    return tuple(split_rules(texts))


def _device(text: str) -> Device:
    """`vendor.com/class=name[,required]`, or with `name=` before it. Raises ValueError."""
    rows = list(csv.reader([text]))
    if not rows or not rows[0] or not rows[0][0]:
        raise ValueError("failed to parse csv devices: EOF")
    name, required = "", False
    for number, field in enumerate(rows[0]):
        key, equals, value = field.partition("=")
        if key == "required":
            if equals and value.lower() not in ("true", "false"):
                raise ValueError(f"invalid value for required: {value}")
            required = not equals or value.lower() == "true"
        elif key == "name":
            name = value
        elif number == 0:
            name = field
        else:
            raise ValueError(f"unexpected key '{key}' in '{field}'")
    if not name:
        raise ValueError("device name is required")
    return Device(name=name, required=required)
