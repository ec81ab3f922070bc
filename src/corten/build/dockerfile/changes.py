"""`docker commit --change`, `docker import --change`: single instructions applied to a configuration. Pure; daemon."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from corten.build.dockerfile.error import DockerfileError
from corten.build.dockerfile.instructions import parse_instruction
from corten.build.dockerfile.parser import Node, parse_source
from corten.build.dockerfile.state import StageState, state_of
from corten.spec.oci_image import ImageConfig

_ALLOWED = (
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "STOPSIGNAL", "USER", "VOLUME",
    "WORKDIR",
)  # fmt: skip
_MAY_BE_EMPTY = ("CMD", "ENTRYPOINT")  # which takes away what there was


def apply_changes(config: ImageConfig, changes: Iterable[str]) -> ImageConfig:
    """`config` after each instruction in turn. Raises DockerfileError with Docker's texts, which name no line."""
    text = "\n".join(changes)
    if not text.strip():
        return config
    state = state_of(config)
    try:
        for node in parse_source(text.encode()).nodes:
            state = _applied(node, state)
    except DockerfileError as error:
        raise DockerfileError(error.reason, lines=error.lines) from error
    # which only a build says
    return msgspec.structs.replace(state.config, args_escaped=config.args_escaped)


def _applied(node: Node, state: StageState) -> StageState:
    if node.name not in _ALLOWED:
        raise node.error(f"{node.keyword} is not a valid change command")
    if not node.arguments and node.name in _MAY_BE_EMPTY:
        node = replace(node, arguments="[]")
    instruction = parse_instruction(node)
    return instruction.expanded(state.expansion(node.escape)).applied(state)
