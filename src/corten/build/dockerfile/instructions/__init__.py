"""The instructions, one a file. Adding one is a file and a line of `INSTRUCTIONS`. Pure; daemon."""

from __future__ import annotations

from corten.build.dockerfile.error import did_you_mean
from corten.build.dockerfile.instruction import Instruction
from corten.build.dockerfile.instructions.add import Add
from corten.build.dockerfile.instructions.arg import Arg
from corten.build.dockerfile.instructions.cmd import Cmd
from corten.build.dockerfile.instructions.copy import Copy
from corten.build.dockerfile.instructions.entrypoint import Entrypoint
from corten.build.dockerfile.instructions.env import Env
from corten.build.dockerfile.instructions.expose import Expose
from corten.build.dockerfile.instructions.from_ import From
from corten.build.dockerfile.instructions.healthcheck import HealthCheck
from corten.build.dockerfile.instructions.label import Label
from corten.build.dockerfile.instructions.maintainer import Maintainer
from corten.build.dockerfile.instructions.onbuild import OnBuild
from corten.build.dockerfile.instructions.run import Run
from corten.build.dockerfile.instructions.shell import Shell
from corten.build.dockerfile.instructions.stopsignal import StopSignal
from corten.build.dockerfile.instructions.user import User
from corten.build.dockerfile.instructions.volume import Volume
from corten.build.dockerfile.instructions.workdir import Workdir
from corten.build.dockerfile.parser import Node

INSTRUCTIONS: tuple[type[Instruction], ...] = (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    HealthCheck,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
_BY_KEYWORD = {instruction.keyword: instruction for instruction in INSTRUCTIONS}


def parse_instruction(node: Node) -> Instruction:
    """The instruction that `node` is. Raises ParseError."""
    instruction = _BY_KEYWORD.get(node.name)
    if instruction is None:
        raise node.error(f"unknown instruction: {node.keyword}" + did_you_mean(node.name, list(_BY_KEYWORD)))
    if node.settings and instruction is not Run:
        raise node.error(f"corten:{node.settings[0][0]} stands above {node.name}, and only RUN has it")
    return instruction.parse(node)
