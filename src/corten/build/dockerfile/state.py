"""A stage between two instructions: the configuration so far, and what variables stand for. Pure; daemon.

`environment` is what variables expand to and what RUN sees: ENV and ARG both write it, the later one wins. Only ENV's
values are in the configuration: `entries` has them by name. `arguments` are the ARGs declared so far, for the history
of RUN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from corten.build.dockerfile.expansion import Expansion
from corten.spec.oci_image import ImageConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    """One stage's state. `cmd_is_set` tells a CMD of this very stage, which a later ENTRYPOINT leaves alone.

    `given` are the values of ARGs that have no default: build arguments, global ARGs, platforms; `overriding` those
    that win over a default.
    """

    config: ImageConfig = field(default_factory=ImageConfig)
    author: str = ""
    cmd_is_set: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[tuple[str, str], ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    overriding: Mapping[str, str] = field(default_factory=dict)

    @property
    def shell(self) -> tuple[str, ...]:
        """What runs the shell form of RUN, CMD and ENTRYPOINT."""
        return tuple(self.config.shell or DEFAULT_SHELL)

    @property
    def working_dir(self) -> str:
        """Where relative paths begin; absolute."""
        return self.config.working_dir or "/"

    def expansion(self, escape: str) -> Expansion:
        """What the next instruction's words expand with."""
        return Expansion(self.environment, escape)

    def with_config(self, **changes: Any) -> StageState:
        """With these fields of the configuration changed."""
        return replace(self, config=msgspec.structs.replace(self.config, **changes))

    def with_env(self, pairs: Mapping[str, str]) -> StageState:
        """With environment variables set, in their old places where they had one."""
        entries = {**self.entries, **{name: f"{name}={value}" for name, value in pairs.items()}}
        changed = replace(self, environment={**self.environment, **pairs}, entries=entries)
        return changed.with_config(env=list(entries.values()))

    def with_argument(self, name: str, value: str | None) -> StageState:
        """With an ARG declared; one without a value changes no variable."""
        environment = self.environment if value is None else {**self.environment, name: value}
        arguments = dict(self.arguments) | {name: environment.get(name, "")}
        return replace(self, environment=environment, arguments=tuple(arguments.items()))


def state_of(config: ImageConfig, *, author: str = "") -> StageState:
    """The state that goes on from a configuration."""
    entries = {entry.partition("=")[0]: entry for entry in config.env or []}
    environment = {name: entry.partition("=")[2] for name, entry in entries.items()}
    return StageState(config=config, author=author, environment=environment, entries=entries)


def first_state(config: ImageConfig | None, *, author: str = "") -> StageState:
    """The state behind FROM: of an image's configuration, or of scratch. There is always a PATH."""
    config = msgspec.structs.replace(config, on_build=None) if config else ImageConfig(working_dir="/")
    state = state_of(config, author=author)
    return state if "PATH" in state.environment else state.with_env({"PATH": DEFAULT_PATH})
