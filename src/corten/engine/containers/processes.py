"""GET /containers/{id}/top: ps(1) for the processes of one cgroup, from the host's /proc. Blocking; daemon only.

No binary is run, neither the container's (CVE-2022-1227: podman top did) nor the host's. The common forms of `ps`
options are understood: `-ef`, `aux` and `-o` with columns; sorting and selection make no difference to what belongs to
the container and are refused when they are not known.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from corten.errors import InvalidArgument
from corten.linux.errors import reason

_HERTZ = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MAX_PROCESSES = 100_000
_MAX_CMDLINE = 4096


class ProcessTable(msgspec.Struct, rename="pascal", kw_only=True):
    """The answer of the API."""

    titles: list[str]
    processes: list[list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process, from proc_pid_stat(5), status and cmdline."""

    pid: int
    ppid: int
    uid: int
    gid: int
    comm: str
    cmdline: str
    state: str
    tty: int
    cpu_s: float
    elapsed_s: float
    started: float
    vsize_kib: int
    rss_kib: int
    threads: int
    nice: int
    session: int
    pgrp: int
    foreground: bool


def parse_stat(text: str) -> tuple[str, list[str]]:
    """(comm, the fields after it) of /proc/<pid>/stat; comm may hold spaces and parentheses. Raises ValueError."""
    start, end = text.index("("), text.rindex(")")
    return text[start + 1 : end], text[end + 2 :].split()


def read_process(pid: int, uptime_s: float, now: float) -> Process | None:
    """The process as /proc shows it, None when it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            comm, fields = parse_stat(file.read())
        status = os.stat(f"/proc/{pid}")
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            cmdline = file.read(_MAX_CMDLINE).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except (OSError, ValueError, IndexError):
        return None
    uid, gid = _ids(pid, status)
    elapsed = max(0.0, uptime_s - int(fields[19]) / _HERTZ)
    return Process(
        pid=pid,
        ppid=int(fields[1]),
        uid=uid,
        gid=gid,
        comm=comm,
        cmdline=_printable(cmdline) or f"[{_printable(comm)}]",
        state=fields[0],
        tty=int(fields[4]),
        cpu_s=(int(fields[11]) + int(fields[12])) / _HERTZ,
        elapsed_s=elapsed,
        started=now - elapsed,
        vsize_kib=int(fields[20]) // 1024,
        rss_kib=int(fields[21]) * _PAGE // 1024,
        threads=int(fields[17]),
        nice=int(fields[16]),
        session=int(fields[3]),
        pgrp=int(fields[2]),
        foreground=fields[5] == fields[2],
    )


def _ids(pid: int, status: os.stat_result) -> tuple[int, int]:
    """Effective ids; the owner of /proc/<pid> is root for processes that are not dumpable."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/status", "rb") as file:
        lines = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
        return int(lines[b"Uid"].split()[1]), int(lines[b"Gid"].split()[1])
    return status.st_uid, status.st_gid


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


# -- columns


def _user(process: Process) -> str:
    try:
        return pwd.getpwuid(process.uid).pw_name
    except KeyError:
        return str(process.uid)


def _tty(process: Process) -> str:
    major, minor = os.major(process.tty), os.minor(process.tty)
    if 136 <= major <= 143:
        return f"pts/{minor + (major - 136) * 256}"
    if major == 4:
        return f"tty{minor}"
    return "console" if (major, minor) == (5, 1) else "?"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def _elapsed(process: Process) -> str:
    text = _clock(process.elapsed_s)
    return text.removeprefix("00:")


def _started(process: Process) -> str:
    form = "%H:%M" if process.elapsed_s < 86400 else "%b%d"
    return time.strftime(form, time.localtime(process.started))


def _percent(process: Process) -> float:
    return 100 * process.cpu_s / process.elapsed_s if process.elapsed_s > 0 else 0.0


def _memory_percent(process: Process) -> str:
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE // 1024
    return f"{100 * process.rss_kib / total:.1f}"


def _state(process: Process) -> str:
    marks = "<" if process.nice < 0 else "N" if process.nice > 0 else ""
    marks += "s" if process.session == process.pid else ""
    marks += "l" if process.threads > 1 else ""
    marks += "+" if process.foreground else ""
    return process.state + marks


Column = Callable[[Process], str]
# name in -o: (title, value)
COLUMNS: dict[str, tuple[str, Column]] = {
    "pid": ("PID", lambda p: str(p.pid)),
    "ppid": ("PPID", lambda p: str(p.ppid)),
    "pgid": ("PGID", lambda p: str(p.pgrp)),
    "pgrp": ("PGRP", lambda p: str(p.pgrp)),
    "sid": ("SID", lambda p: str(p.session)),
    "sess": ("SESS", lambda p: str(p.session)),
    "user": ("USER", _user),
    "euser": ("EUSER", _user),
    "ruser": ("RUSER", _user),
    "uname": ("USER", _user),
    "uid": ("UID", lambda p: str(p.uid)),
    "euid": ("EUID", lambda p: str(p.uid)),
    "gid": ("GID", lambda p: str(p.gid)),
    "egid": ("EGID", lambda p: str(p.gid)),
    "comm": ("COMMAND", lambda p: p.comm),
    "ucmd": ("CMD", lambda p: p.comm),
    "args": ("COMMAND", lambda p: p.cmdline),
    "cmd": ("CMD", lambda p: p.cmdline),
    "command": ("COMMAND", lambda p: p.cmdline),
    "tty": ("TT", _tty),
    "tt": ("TT", _tty),
    "tname": ("TTY", _tty),
    "stat": ("STAT", _state),
    "state": ("S", lambda p: p.state),
    "s": ("S", lambda p: p.state),
    "time": ("TIME", lambda p: _clock(p.cpu_s)),
    "cputime": ("TIME", lambda p: _clock(p.cpu_s)),
    "etime": ("ELAPSED", _elapsed),
    "etimes": ("ELAPSED", lambda p: str(int(p.elapsed_s))),
    "stime": ("STIME", _started),
    "start": ("STARTED", _started),
    "start_time": ("START", _started),
    "lstart": ("STARTED", lambda p: time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(p.started))),
    "c": ("C", lambda p: str(int(min(_percent(p), 99)))),
    "pcpu": ("%CPU", lambda p: f"{_percent(p):.1f}"),
    "%cpu": ("%CPU", lambda p: f"{_percent(p):.1f}"),
    "pmem": ("%MEM", _memory_percent),
    "%mem": ("%MEM", _memory_percent),
    "rss": ("RSS", lambda p: str(p.rss_kib)),
    "rssize": ("RSS", lambda p: str(p.rss_kib)),
    "vsz": ("VSZ", lambda p: str(p.vsize_kib)),
    "vsize": ("VSZ", lambda p: str(p.vsize_kib)),
    "ni": ("NI", lambda p: str(p.nice)),
    "nice": ("NI", lambda p: str(p.nice)),
    "nlwp": ("NLWP", lambda p: str(p.threads)),
    "thcount": ("THCNT", lambda p: str(p.threads)),
}
_FULL = [
    ("UID", _user),
    *(COLUMNS[c] for c in ("pid", "ppid", "c", "stime")),
    ("TTY", _tty),
    *(COLUMNS[c] for c in ("time", "cmd")),
]
_USER_FORM = [
    *(COLUMNS[name] for name in ("user", "pid", "pcpu", "pmem", "vsz", "rss")),
    ("TTY", _tty),
    COLUMNS["stat"],
    ("START", _started),
    ("TIME", lambda p: f"{int(p.cpu_s) // 60}:{int(p.cpu_s) % 60:02d}"),
    COLUMNS["args"],
]
_PLAIN = [COLUMNS["pid"], ("TTY", _tty), COLUMNS["time"], COLUMNS["ucmd"]]
_PLAIN_BSD = [COLUMNS["pid"], ("TTY", _tty), COLUMNS["stat"], _USER_FORM[-2], COLUMNS["args"]]


def columns_of(ps_args: str) -> list[tuple[str, Column]]:
    """The columns that ps options ask for. Raises InvalidArgument."""
    try:
        words = shlex.split(ps_args[:1024])
    except ValueError as error:
        raise InvalidArgument(f"ps: {error}") from error
    form: list[tuple[str, Column]] = []
    chosen: list[tuple[str, Column]] = []
    while words:
        word = words.pop(0)
        dashed = word.startswith("-")
        letters = word.lstrip("-")
        if word.startswith("--"):
            raise InvalidArgument(f"ps: unsupported option {word[:32]!r}: use -ef, aux or -o with columns")
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter == "o":
                value = letters or (words.pop(0) if words else "")
                chosen += _user_columns(value)
                letters = ""
            elif letter == "f" and dashed:
                form = list(_FULL)
            elif letter == "u" and not dashed:
                form = list(_USER_FORM)
            elif letter not in ("eAawdHT" if dashed else "axwefg"):
                raise InvalidArgument(f"ps: unsupported option {letter!r}: use -ef, aux or -o with columns")
            elif not form and not dashed:
                form = list(_PLAIN_BSD)
    return chosen or form or list(_PLAIN)


def _user_columns(text: str) -> Iterable[tuple[str, Column]]:
    """`pid,user=WHO,args`. A title goes to the end of the text, as ps takes it."""
    names, equals, title = text.partition("=")
    parts = [part for part in names.replace(" ", ",").split(",") if part]
    if not parts:
        raise InvalidArgument("ps: -o needs columns")
    for number, part in enumerate(parts):
        known = COLUMNS.get(part.lower())
        if known is None:
            raise InvalidArgument(f"ps: unknown user-defined format specifier {part[:32]!r}")
        last = number == len(parts) - 1
        yield (title if equals and last else known[0]), known[1]


def own_processes(pids: list[int]) -> list[int]:
    """Without those that stand in the cgroup to start execs (shim/porter.py), which are not the container's.

    They are told by their mount namespace, the engine's: a container always has another, and a name can be given to
    any process that wants to hide.
    """
    own = os.stat("/proc/self/ns/mnt")
    return [pid for pid in pids if not _is_in(own, pid)]


def _is_in(mount_namespace: os.stat_result, pid: int) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/mnt"), mount_namespace)
    except OSError:  # it has ended
        return False


def list_processes(pids: Callable[[], list[int]], ps_args: str) -> ProcessTable:
    """The processes as a table. Raises InvalidArgument, as Docker does when no column is the PID."""
    columns = columns_of(ps_args)
    if not any(title == "PID" for title, _value in columns):
        raise InvalidArgument("Couldn't find PID field in ps output")
    try:
        wanted = sorted(pids())[:_MAX_PROCESSES]
    except OSError as error:
        raise InvalidArgument(f"the container's processes cannot be listed: {reason(error.errno or 0)}") from error
    uptime, now = time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    found = (process for pid in wanted if (process := read_process(pid, uptime, now)) is not None)
    rows = [[value(process) for _title, value in columns] for process in found]
    return ProcessTable(titles=[title for title, _value in columns], processes=rows)
