"""What the client of a build is told and asked while it runs: one face an API (classic, BuildKit). Pure; daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from corten.build.graph import Vertex
from corten.build.plan import Plan, Stage, Step
from corten.build.solver import Solver
from corten.registry.credentials import Credentials
from corten.spec.docker.lint import LintWarning, SourceFile
from corten.spec.docker.progress import ProgressMessage


class Watcher(Protocol):
    """Who is told of the steps of a running build."""

    def begun(self, vertex: Vertex) -> None:
        """A step is done now: it waits for nothing any more, and the cache does not have it."""

    def running(self, vertex: Vertex, cid: str) -> None:
        """A step's container was made."""

    async def output(self, vertex: Vertex, stream: int, data: bytes) -> None:
        """A step has written this to a stream; returns when there is room for more."""

    def removed(self, vertex: Vertex, cid: str) -> None:
        """A step's container is gone."""

    async def changed(self) -> None:
        """The solver has got on."""


IdAfter = Callable[[Stage, Step], str]


class Face(Protocol):
    """How one client hears of its build."""

    def begun(self, source: SourceFile) -> None:
        """The Dockerfile was read: what fails from here on may be about its lines."""

    def resolving(self, reference: str) -> AbstractContextManager[object]:
        """What an image's name means is found out, as long as the block."""

    def pulling(self, message: ProgressMessage) -> None:
        """A base image comes."""

    def checked(self, findings: Sequence[LintWarning], source: SourceFile) -> None:
        """What the checks have found in the Dockerfile."""

    def watch(self, plan: Plan, solver: Solver, id_after: IdAfter) -> Watcher:
        """The plan stands and is about to run; `id_after` gives the image id after a step, if it is known."""


class AgentStream(Protocol):
    """One connection to an ssh agent of the client's."""

    async def read(self) -> bytes:
        """What the agent says next; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Say something to it."""

    async def close(self) -> None:
        """Hang up."""


class Offers(Protocol):
    """What a build's client offers to its steps, asked for when a step needs it, and never stored."""

    async def secret(self, name: str) -> bytes | None:
        """A secret's value; None when the client has none of that name."""

    async def agent(self, name: str) -> AgentStream | None:
        """A new connection to an ssh agent; None when the client forwards none of that name."""

    async def credentials(self, keys: Sequence[str]) -> Credentials:
        """Those for a registry, which clients know under one of these names; ANONYMOUS without."""
