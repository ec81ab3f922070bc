"""`--progress=tty`: all steps with their times, drawn again and again in place, running ones with their last lines.
Pure.

`frame` says what stands there; `Tty` how the cursor gets back to where it stood. When the terminal becomes narrower,
lines that are already there are folded by it: they take more rows to go up.
"""

from __future__ import annotations

from corten.cli.build.progress.figures import amount
from corten.cli.build.progress.trace import Step, Trace, failures
from corten.cli.build.progress.window import HEIGHT, clean, columns, fitted, padded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from corten.cli.build.progress.colors import Colors

_LEAST_NAME = 12  # columns; a screen on which less is left shows no steps
_LEAST_STATUS = 20
_OTHER_ROWS = 2  # the heading, and where the cursor waits
_WINDOW_ROWS = HEIGHT + 3  # what has to be free for a step's output
_LOG = " => => # "


class Line:
    """A line as it is, without colours; `kind` is its colour."""

    __slots__ = ("kind", "text")

    def __init__(self, text: str, kind: str = "") -> None:
        self.text = text
        self.kind = kind


class _Job:
    """A step or one of its sub-lines, before it is known how much room there is."""

    __slots__ = ("is_over", "kind", "name", "seconds", "status", "step")

    def __init__(
        self, name: str, seconds: float, *, is_over: bool, kind: str = "run", status: str = "", step: Step | None = None
    ) -> None:
        self.name = name
        self.seconds = seconds
        self.is_over = is_over
        self.kind = kind
        self.status = status
        self.step = step


def frame(trace: Trace, now_ns: int, width: int, height: int, *, name: str, is_last: bool) -> list[Line]:
    """What the screen shows. `now_ns` is the time in the engine's clock; the last frame shows everything."""
    jobs = [job for step in trace.in_order for job in _jobs(step, now_ns)]
    logs = {} if is_last else _logs(jobs, height)
    if not is_last:
        jobs = _folded(jobs, height - _OTHER_ROWS - sum(len(lines) for lines in logs.values()))
    done, total = trace.completed, len(trace.steps)
    seconds = max(0, now_ns - (trace.started or now_ns)) / 1e9
    ending = "FINISHED" if is_last and 0 < done == total else ""
    lines = [Line(_aligned(f"[+] Building {seconds:.1f}s ({done}/{total}) {ending}", name, width - 1))]
    for job in jobs:
        line = _line(job, width)
        if line is None:
            continue
        lines.append(Line(line, job.kind if job.is_over else ""))
        found = logs.get(job.step.digest, ()) if job.step is not None else ()
        lines += [Line(padded(_LOG + fitted(log, width - len(_LOG) - 1), width - 1), "faint") for log in found]
    return lines


def _jobs(step: Step, now_ns: int) -> list[_Job]:
    name, kind = clean(step.name), "run"
    if step.error:
        kind = "cancel" if step.is_canceled else "error"
        name = f"{'CANCELED' if step.is_canceled else 'ERROR'} {name}"
    if step.cached:
        name = f"CACHED {name}"
    seconds = step.seconds(now_ns)
    jobs = [_Job(name, seconds, is_over=step.is_completed, kind=kind, step=step)]
    for line in step.sub_lines.values():
        if line.started is None:
            continue
        passed = max(0, (now_ns if line.completed is None else line.completed) - line.started) / 1e9
        jobs.append(
            _Job(
                f"=> {clean(line.id)}",
                passed,
                is_over=line.completed is not None,
                status=amount(line.current, line.total),
            )
        )
    jobs += [_Job(f"WARN: {clean(text)}", seconds, is_over=True, kind="cancel") for text in step.warnings]
    return jobs


def _logs(jobs: list[_Job], height: int) -> dict[str, list[str]]:
    """The output of those running steps that have room for it, the most talkative ones first."""
    running = [job for job in jobs if not job.is_over]
    free = height - _OTHER_ROWS - len(running)
    talking = [job.step for job in running if job.step is not None and job.step.window.size]
    found: dict[str, list[str]] = {}
    for step in sorted(talking, key=lambda step: -step.window.size):
        if free <= _WINDOW_ROWS:
            break
        found[step.digest] = step.window.lines()
        free -= _WINDOW_ROWS
    return found


def _folded(jobs: list[_Job], limit: int) -> list[_Job]:
    """The last ones, and those still running of the others in place of the oldest that are over."""
    if limit <= 0:
        return []
    if len(jobs) <= limit:
        return jobs
    hidden = [job for job in jobs[:-limit] if not job.is_over]
    shown: list[_Job] = []
    spare = len(hidden)
    for job in jobs[-limit:]:
        if job.is_over and spare:
            spare -= 1
        else:
            shown.append(job)
    return [*hidden[len(hidden) - (limit - len(shown)) :], *shown] if limit > len(shown) else shown


def _line(job: _Job, width: int) -> str | None:
    """One line, exactly as wide as the screen; None when there is no room."""
    timer = f" {job.seconds if job.seconds >= 0.05 else 0:.1f}s"
    left = width - len(" => ") - len(timer) - 2
    status = job.status if left + len(job.status) > _LEAST_STATUS else ""
    if status:
        left -= len(status) + 1
    if left < _LEAST_NAME:
        return None
    text = f" => {fitted(job.name, left)}"
    return _aligned(f"{text} {status}" if status else text, timer, width - 1)


def _aligned(left: str, right: str, width: int) -> str:
    left = padded(fitted(left, max(0, width - len(right) - 1)), width - len(right) - 1)
    return fitted(f"{left} {right}", max(0, width))


class Tty:
    """One build on a terminal. `name` stands at the right of the heading."""

    def __init__(self, trace: Trace, colors: Colors, name: str) -> None:
        self._trace = trace
        self._colors = colors
        self._name = name
        self._widths: list[int] = []

    def text(self, now_ns: int, width: int, height: int) -> str:
        """What draws the next frame over the last one."""
        return self._drawn(now_ns, width, height, is_last=False)

    def end(self, now_ns: int, width: int, height: int) -> str:
        """The last frame, and what failed steps wrote."""
        return self._drawn(now_ns, width, height, is_last=True) + failures(self._trace)

    def _drawn(self, now_ns: int, width: int, height: int, *, is_last: bool) -> str:
        lines = frame(self._trace, now_ns, width, height, name=self._name, is_last=is_last)
        rows = sum(max(1, -(-wide // max(1, width))) for wide in self._widths)
        text = "\x1b[?25l" + (f"\x1b[{min(rows, height - 1)}A" if rows else "") + "\r"
        for line in lines:
            text += f"{self._colors.apply(line.kind, line.text)}\x1b[K\n"
        self._widths = [columns(line.text) for line in lines]
        return f"{text}\x1b[J\x1b[?25h"
