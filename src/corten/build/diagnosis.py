"""What clients that ask for it are told beside the classic stream: findings, and the lines that a failure is about.

Both are one message with BuildKit's `lint` result as its `aux`; docker's own CLI does not ask (`diagnostics`). Pure;
daemon.
"""

from __future__ import annotations

from collections.abc import Sequence

from corten.build.dockerfile.error import DockerfileError, Lines
from corten.errors import CortenError
from corten.lib.disk_full import words
from corten.spec.docker.lint import BuildError, LintResults, LintWarning, SourceFile, location
from corten.spec.docker.progress import ProgressMessage


class FailedStep(CortenError):
    """A step's error (`reason`), with the lines of its instruction."""

    code = "build-step"

    def __init__(self, reason: CortenError | OSError, lines: Lines) -> None:
        super().__init__(words(reason))
        self.reason = reason
        self.lines = lines


def findings(warnings: Sequence[LintWarning], source: SourceFile) -> ProgressMessage:
    """What the checks found."""
    return _message(LintResults(sources=[source], warnings=tuple(warnings)))


def diagnosis(error: CortenError | OSError, source: SourceFile) -> ProgressMessage:
    """Why a build failed, and at which lines."""
    lines = error.lines if isinstance(error, DockerfileError | FailedStep) else (0, 0)
    return failure_at(words(error), lines, source)


def failure_at(text: str, lines: Lines, source: SourceFile) -> ProgressMessage:
    """The same of a text that somebody has found."""
    place = location(lines) if lines[0] else None
    return _message(LintResults(sources=[source], build_error=BuildError(message=text, location=place)))


def _message(results: LintResults) -> ProgressMessage:
    return ProgressMessage(aux={"Lint": results})
