"""`--progress=plain`: `#5 [2/3] RUN make`, its output, `#5 DONE 0.4s`. Pure.

Steps run side by side and are shown one after the other. A step that is over is shown whole; of those that run, one is
in the foreground until it ends, or until others have waited for their turn.
"""

from __future__ import annotations

from corten.cli.build.progress.figures import NANO, amount
from corten.cli.build.progress.trace import Step, SubLine, Trace, failures

_LAST_LINES = 10  # of a step that has failed, at the end
_TURN_S = 5.0  # how long a step keeps the foreground at least
_WAIT_S = 10.0  # how long one waits for it at most
_SHARE, _INTERVAL_NS = 0.05, 5 * NANO  # of progress, and of time, before a sub-line is told once more


class Plain:
    """One build's text. `heading` is a first line, empty for none."""

    def __init__(self, trace: Trace, heading: str = "") -> None:
        self._trace = trace
        self._heading = heading
        self._current: Step | None = None
        self._numbered = 0
        self._told: dict[tuple[str, str], tuple[int, int]] = {}  # (step, sub-line): bytes and time last told
        self._unfinished = False  # the last line has no newline yet

    def text(self, now: float) -> str:
        """What is to be written of what came since the last time; `now` is of the trace's clock."""
        updated = [step for step in self._trace.updated.values() if step.started is not None]
        over = [step for step in updated if step.completed is not None]
        running = [step for step in updated if step.completed is None]
        current = self._current
        text, ended = "", False
        if current in over:
            text, ended = self._shown(current), True
        for step in sorted(over, key=lambda step: step.completed or 0):
            if step is not current:
                text += self._shown(step)
        if not running:
            return text + self._idle()
        if current in running:
            text += self._shown(current)
        chosen = self._chosen(running, None if ended else self._current, now)
        return text + (self._shown(chosen) if chosen is not None else "")

    def end(self, now: float) -> str:
        """The rest, and what the failed steps wrote last."""
        text = self.text(now)
        if self._unfinished:
            text += "\n"
            self._unfinished = False
        return text + failures(self._trace, _LAST_LINES)

    def _idle(self) -> str:
        """Nothing that runs has news: bring one of them to the foreground when nobody is there."""
        if self._current is not None:
            return ""
        waiting = (step for step in self._trace.in_order if step.started is not None and step.completed is None)
        step = next(waiting, None)
        return "" if step is None else self._shown(step)

    @staticmethod
    def _chosen(running: list[Step], current: Step | None, now: float) -> Step | None:
        """Who else is to be shown now."""
        waited = {step.digest: now - (step.blocked_since or now) for step in running}
        others = [step for step in running if step is not current]
        if not others:
            return None

        def speed(step: Step) -> float:
            return step.count / max(waited.get(step.digest, 0.0), 0.001)

        busiest = max(others, key=speed)
        if current is None:
            return busiest
        for step in others:
            if waited[step.digest] > _WAIT_S:
                return step
        held = now - (current.blocked_since or now)
        speeds = {step.digest: speed(step) for step in others}
        own = current.count / max(held, 0.001)
        share = own / (own + sum(speeds.values()))
        return busiest if share < 1 and _TURN_S / (1 - share) < held else None

    def _shown(self, step: Step | None) -> str:
        """What is new of a step, behind its heading when another one stood there."""
        if step is None:
            return ""
        text = ""
        if step is not self._current:
            text += self._left()
            if not step.index:
                self._numbered += 1
                step.index = self._numbered
            text += f"#{step.index} {step.name}\n"
        told = "".join(f"#{step.index} WARN: {warning}\n" for warning in step.warnings)
        step.warnings.clear()
        told += "".join(self._sub_line(step, line) for line in step.sub_lines.values() if line.id in step.changed_lines)
        step.changed_lines.clear()
        if told and self._unfinished:
            told, self._unfinished = f"\n{told}", False
        text += told + self._output(step)
        self._current = step
        if step.completed is not None:
            text += self._ending(step)
        self._trace.updated.pop(step.digest, None)
        return text

    def _left(self) -> str:
        """What stands between two steps."""
        before, text = self._current, "\n" if self._unfinished else ""
        self._unfinished = False
        if before is not None:
            before.count = 0
            before.partial = False
            text += f"#{before.index} ...\n"
        if self._numbered:
            return f"{text}\n"
        return f"{self._heading}\n\n" if self._heading else ""

    def _output(self, step: Step) -> str:
        if not step.fresh:
            return ""
        lines = [f"#{step.index} {line}" for line in step.fresh]
        if self._unfinished:  # the first piece goes on with the line that stands there
            lines[0] = step.fresh[0]
        step.fresh.clear()
        self._unfinished = step.partial
        return "\n".join(lines) + ("" if step.partial else "\n")

    def _ending(self, step: Step) -> str:
        text = "\n" if self._unfinished else ""
        self._unfinished = False
        self._current = None
        step.count = 0
        if step.error:
            return (
                f"{text}#{step.index} CANCELED\n" if step.is_canceled else f"{text}#{step.index} ERROR: {step.error}\n"
            )
        if step.cached:
            return f"{text}#{step.index} CACHED\n"
        seconds = ((step.completed or 0) - (step.started or 0)) / NANO
        return f"{text}#{step.index} DONE {seconds:.1f}s\n"

    def _sub_line(self, step: Step, line: SubLine) -> str:
        """One sub-line, unless little has changed since it was told."""
        key, at = (step.digest, line.id), line.timestamp or 0
        last = self._told.get(key)
        if line.started is None and line.completed is None:
            return ""
        if last is not None and line.completed is None:
            share = (line.current - last[0]) / line.total if line.total > 0 else 0.0
            if share < _SHARE and at - last[1] < _INTERVAL_NS:
                return ""
        self._told[key] = (line.current, at)
        text = f"#{step.index} {line.id}"
        done = amount(line.current, line.total)
        if done:
            text += f" {done}"
        if line.started is not None:
            seconds = ((line.completed or at) - line.started) / NANO
            if seconds > 0.01:
                text += f" {seconds:.1f}s"
        return text + (" done\n" if line.completed is not None else "\n")
