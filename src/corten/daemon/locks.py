"""One daemon a root: locks on the data root and exec root, and the pidfile. Daemon only.

A lock is an flock(2) that dies with its holder, so that no crash leaves one behind; the pidfile only tells people.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from corten.daemon.config import Config
from corten.daemon.options import ConfigError
from corten.lib.atomicfile import write_atomic


def _lock(directory: Path, option: str) -> int:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise ConfigError(
            f"failed to start daemon: another daemon (process {holder}) uses {directory}",
            hint=f"stop it with `corten daemon stop`, or give this one another --{option}",
        ) from None
    except BaseException:
        os.close(fd)
        raise
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


@contextmanager
def exclusive(config: Config) -> Iterator[None]:
    """Hold both roots for the block; they are made when missing. Raises ConfigError, OSError."""
    with ExitStack() as stack:
        # 0711: the socket in the exec root is for its group, nothing else there is for anyone (CVE-2021-41091).
        for root, mode, option in ((config.data_root, 0o710, "data-root"), (config.exec_root, 0o711, "exec-root")):
            root.mkdir(mode=mode, parents=True, exist_ok=True)
            os.chmod(root, mode)
            stack.callback(os.close, _lock(root, option))
        yield


@contextmanager
def pidfile(path: Path) -> Iterator[None]:
    """Write the pidfile for the block. A file that names a living process is refused, as dockerd does."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(path.read_text())
        if pid != os.getpid() and Path(f"/proc/{pid}").exists():
            raise ConfigError(
                f"failed to start daemon, ensure docker is not running or delete {path}: "
                f"process with PID {pid} is still running"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, f"{os.getpid()}\n".encode(), mode=0o644, durable=False)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
