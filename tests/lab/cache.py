"""Things that are slow to make, kept in .cache/ by the hash of their recipe."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(os.environ.get("CORTEN_LAB_CACHE") or Path(__file__).resolve().parents[2] / ".cache" / "lab")


def cached(name: str, recipe: str, build: Callable[[Path], None]) -> Path:
    """The path that `build(path)` made for this recipe, now or earlier; built once, also by parallel test runs."""
    ROOT.mkdir(parents=True, exist_ok=True)
    path = ROOT / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with open(ROOT / f"{name}.lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if path.exists():
            return path
        partial = path.with_name(path.name + ".partial")
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)
        build(partial)
        partial.rename(path)
        return path


def run(*argv: str, **options: object) -> None:
    """Run a tool; its output is part of the error when it fails."""
    result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options)  # type: ignore[call-overload]
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} exited {result.returncode}:\n{result.stdout.decode(errors='replace')}")


def ensure_tools(**packages: str) -> None:
    """Install Debian packages whose program is missing: `ensure_tools(mmdebstrap="mmdebstrap")`."""
    missing = sorted(
        {package for program, package in packages.items() if shutil.which(program.replace("_", "-")) is None}
    )
    if not missing:
        return
    ROOT.mkdir(parents=True, exist_ok=True)
    with open(ROOT / "apt.lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "update", "-qq", env=environment)
        run(
            "apt-get",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            "-o",
            "DPkg::Lock::Timeout=300",
            *missing,
            env=environment,
        )
