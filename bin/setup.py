"""Makes or updates the checkout's virtual environment: `setup.py LOCKFILE`. Standard library only.

Several first uses may run at once: the first one works, the others wait on its lock. `.venv/ready` is written last,
so an interrupted set-up is done again. The lock files pin every dependency by hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
# Debian splits `ensurepip` off into python3-venv: without it, this wheel is fetched and checked by its hash.
PIP_WHEEL = "pip-25.3-py3-none-any.whl"
PIP_SHA256 = "9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"


class SetupFailed(Exception):
    """Set-up cannot go on; the text says what to do."""


def run(*argv: str) -> None:
    """Run a step quietly; its output is shown when it fails."""
    result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode != 0:
        sys.stderr.buffer.write(result.stdout)
        raise SetupFailed(f"this step of the set-up failed: {' '.join(argv)}")


def fetch_pip() -> Path:
    """The pinned pip wheel from the configured index, verified."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    # The hash pins the content, so a machine without CA certificates is no reason to give up.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    page_url = f"{index}/pip/"
    try:
        with urllib.request.urlopen(page_url, timeout=60, context=context) as reply:
            page = reply.read(32 << 20).decode()
        match = re.search(rf'href="([^"#]*{re.escape(PIP_WHEEL)})[#"]', page)
        if match is None:
            raise SetupFailed(f"{page_url} does not list {PIP_WHEEL}")
        with urllib.request.urlopen(urllib.parse.urljoin(page_url, match[1]), timeout=60, context=context) as reply:
            data = reply.read(16 << 20)
    except OSError as error:
        raise SetupFailed(f"pip could not be fetched ({error}); on Debian: apt-get install python3-venv") from error
    if hashlib.sha256(data).hexdigest() != PIP_SHA256:
        raise SetupFailed(f"{PIP_WHEEL} from {index} has another hash than the pinned one")
    path = VENV / PIP_WHEEL
    path.write_bytes(data)
    return path


def make_venv() -> list[str]:
    """Make .venv and return the command that is its pip."""
    python = str(VENV / "bin/python")
    if importlib.util.find_spec("ensurepip") is not None:
        run(sys.executable, "-m", "venv", "--clear", str(VENV))
        return [python, "-m", "pip"]
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV))
    return [python, str(fetch_pip() / "pip")]


def main() -> int:
    """Set up for the lock file named by the first argument."""
    lock = ROOT / sys.argv[1]
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    ready = VENV / "ready"
    with open(ROOT / ".venv.lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        lines = ready.read_text().split() if ready.exists() else []
        if digest in lines:
            os.utime(ready)
            return 0
        print("Setting up Corten's private Python environment (once) ...", file=sys.stderr, flush=True)
        try:
            has_pip = (VENV / "bin/pip").exists()
            pip = [str(VENV / "bin/python"), "-m", "pip"] if has_pip else make_venv()
            run(*pip, "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(lock))
            run(str(VENV / "bin/python"), "-m", "compileall", "-q", str(ROOT / "src"))
        except SetupFailed as error:
            print(f"corten: {error}", file=sys.stderr)
            if not lines:
                shutil.rmtree(VENV, ignore_errors=True)
            return 1
        ready.write_text("\n".join([*lines, digest]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
