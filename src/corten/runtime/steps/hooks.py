"""Hooks as steps: those of the runtime's namespaces are asked of the parent, those of the container run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from corten.runtime.channel import ChannelClosed
from corten.runtime.failure import StartFailed
from corten.runtime.hooks import run_hooks
from corten.runtime.steps.base import Context, Step


class ParentHooks(Step):
    """prestart and createRuntime: the parent runs them while init waits, before pivot_root (runtime.md)."""

    __slots__ = ()
    stage = "hook"

    def describe(self) -> str:
        return "let the parent run the prestart and createRuntime hooks"

    def run(self, context: Context) -> None:
        context.channel.send({"type": "hooks"})
        try:
            context.channel.receive_request()
        except ChannelClosed:
            raise StartFailed("hook", 0, "the parent gave up") from None


class ContainerHooks(Step):
    """createContainer or startContainer hooks, in the container's namespaces."""

    __slots__ = ("_hooks", "_kind", "_state")
    stage = "hook"

    def __init__(self, kind: str, hooks: Sequence[Mapping[str, Any]], state: Mapping[str, Any]) -> None:
        self._kind = kind
        self._hooks = hooks
        self._state = state

    def describe(self) -> str:
        return f"run {len(self._hooks)} {self._kind} hooks"

    def doing(self) -> str:
        return f"error running {self._kind} hooks"

    def run(self, context: Context) -> None:
        run_hooks(self._kind, self._hooks, self._state)
