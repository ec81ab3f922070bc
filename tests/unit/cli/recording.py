"""Runs a client, Corten's or Docker's, against an engine that records, with canned answers for lists.

`python -m tests.unit.cli.recording` writes what Docker's client does to `golden/` again; it needs `docker` on the path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.unit.cli.fake_engine import Asked, FakeEngine

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
MAIN = HERE.parents[2] / "src/corten/__main__.py"
CORTEN = [sys.executable, "-I", "-S", str(MAIN)]
DOCKER = ["docker"]


def client(program: list[str], engine: FakeEngine, arguments: list[str], folder: Path, **options: Any) -> Any:
    """Run a client in an empty environment; returns the finished process with text output."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TZ": "UTC", "LC_ALL": "C.UTF-8", "GIVEN": "here"}
    options.setdefault("stdin", subprocess.DEVNULL)
    if "input" in options:
        options.pop("stdin")
    return subprocess.run(
        [*program, "-H", engine.host, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=60,
        check=False,
        **options,
    )


def create_request(program: list[str], arguments: list[str], folder: Path) -> dict[str, Any]:
    """What `create` with these arguments asks: its query and body, or the error text."""
    path = Path(tempfile.mkdtemp(prefix="corten-", dir="/tmp")) / "s"
    engine = FakeEngine(path, {"GET /info": (200, {"OSType": "linux"})})
    try:
        done = client(program, engine, ["create", *arguments], folder)
    finally:
        engine.close()
        shutil.rmtree(path.parent)
    asked: list[Asked] = [one for one in engine.asked if one.path == "/containers/create"]
    if not asked:
        return {
            "error": done.stderr.replace("docker", "corten").replace("Docker daemon", "Corten daemon"),
            "status": done.returncode,
        }
    return {"query": sorted(asked[0].query), "body": _normal(asked[0].json)}


def without_zeros(value: Any) -> Any:
    """Without fields at their zero value: null, "", 0, false, empty lists and maps."""
    if isinstance(value, dict):
        kept = {key: without_zeros(item) for key, item in value.items() if item is not None}
        return {
            key: item for key, item in kept.items() if item not in (None, "", 0, [], {}) or key in _KEPT or "/" in key
        }
    if isinstance(value, list):
        return [without_zeros(item) for item in value]
    return value


def _normal(body: dict[str, Any]) -> dict[str, Any]:
    """Defaults that Docker's client spells out go, and what it orders at random is sorted."""
    host = body["HostConfig"]
    host["ConsoleSize"] = None if host.get("ConsoleSize") == [0, 0] else host.get("ConsoleSize")
    host["MemorySwappiness"] = None if host.get("MemorySwappiness") == -1 else host.get("MemorySwappiness")
    body["Env"] = sorted(body.get("Env") or [])
    found: dict[str, Any] = without_zeros(body)
    return found


# Empty and absent differ here, or empty is the value.
_KEPT = frozenset(("MaskedPaths", "ReadonlyPaths", "Entrypoint", "StopTimeout", "Init"))


def transcript(program: list[str], arguments: list[str], folder: Path) -> dict[str, Any]:
    """What a command asks of canned answers and what it prints."""
    from tests.unit.cli.canned import answers

    prepare(folder)
    path = Path(tempfile.mkdtemp(prefix="corten-", dir="/tmp")) / "s"
    engine = FakeEngine(path, answers())
    try:
        done = client(program, engine, arguments, folder, input="")
    finally:
        engine.close()
        shutil.rmtree(path.parent)
    asked = [_line(one) for one in engine.requests() if one.path not in ("/info", "/version")]
    return {
        "asked": sorted(line for line in asked if not _looks_up(line)),
        "stdout": _ours(done.stdout),
        "stderr": _ours(done.stderr),
        "status": done.returncode,
    }


def on_terminal(program: list[str], arguments: list[str], folder: Path, columns: int) -> str:
    """All that a command writes on a terminal of this width."""
    import pexpect
    from tests.unit.cli.canned import answers

    path = Path(tempfile.mkdtemp(prefix="corten-", dir="/tmp")) / "s"
    engine = FakeEngine(path, answers())
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    try:
        argv = [*program[1:], "-H", engine.host, *arguments]
        return str(
            pexpect.run(
                " ".join([program[0], *argv]), env=environment, encoding="utf-8", timeout=30,
                dimensions=(24, columns), cwd=str(folder),
            )
        )  # fmt: skip
    finally:
        engine.close()
        shutil.rmtree(path.parent)


def copy(program: list[str], arguments: list[str], folder: Path) -> dict[str, Any]:
    """What a `cp` sends to or takes from a container `box`, in which copies.TREE stands."""
    from tests.unit.cli import copies

    path = Path(tempfile.mkdtemp(prefix="corten-", dir="/tmp")) / "s"
    engine = FakeEngine(path, copies.answers(), stat=copies.stat_header)
    try:
        copies.prepare(folder)
        done = client(program, engine, arguments, folder)
        sent = [
            [one.line(), copies.members(one.body)] for one in engine.requests() if one.method in ("PUT", "GET")
            if one.path.endswith("/archive")
        ]  # fmt: skip
        found = copies.files(folder)
    finally:
        engine.close()
        shutil.rmtree(path.parent)
    return {"sent": sent, "found": found, "stderr": _ours(done.stderr), "status": done.returncode}


def _ours(text: str) -> str:
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith('time="'))
    for theirs, ours in (
        ("Docker daemon", "Corten daemon"),
        ("docker: ", "corten: "),
        ("'docker ", "'corten "),
        ("  docker", "  corten"),
    ):
        text = text.replace(theirs, ours)
    return text


def _sorted_json(value: str) -> str:
    return json.dumps(json.loads(value), sort_keys=True) if value.startswith("{") else value


def _looks_up(line: str) -> bool:
    """Whether a request only looks an object up: both clients do, at different times."""
    method, _, target = line.partition(" ")
    return method == "GET" and (target.endswith("/json") or target.startswith(("/networks/", "/plugins/", "/volumes/")))


def _line(one: Asked) -> str:
    body = ""
    one.query = [(name, _sorted_json(value)) for name, value in one.query if value]
    if one.body and "json" in one.headers.get("content-type", ""):
        sent = _normal(one.json) if one.path == "/containers/create" else without_zeros(one.json)
        body = " " + json.dumps(sent, sort_keys=True)
    return one.line() + body


def prepare(folder: Path) -> None:
    """The files that the cases name."""
    (folder / "env").write_text("# comment\nA=1\n  B=two words\nGIVEN\nABSENT\n\nC=\n")
    (folder / "bad-env").write_text("A B=1\n")
    (folder / "labels").write_text("a=1\nb\n")
    (folder / "seccomp.json").write_text('{\n  "defaultAction": "SCMP_ACT_ALLOW",\n  "x": [1, "a \\" b"]\n}\n')


def main() -> int:
    """Record Docker's requests again."""
    from tests.unit.cli.create_cases import CASES

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        recorded = {}
        for case in CASES:
            found = json.dumps(create_request(DOCKER, case, folder)).replace(str(folder), "$FOLDER")
            recorded[json.dumps(case)] = json.loads(found)
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / "create.json").write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    from tests.unit.cli import canned

    screens = {}
    copied = {}
    from tests.unit.cli import copies

    for case in copies.CASES:
        with tempfile.TemporaryDirectory() as name:
            found = json.dumps(copy(DOCKER, case, Path(name))).replace(name, "$FOLDER")
            copied[json.dumps(case)] = json.loads(found)
    (GOLDEN / "copies.json").write_text(json.dumps(copied, indent=1, sort_keys=True) + "\n")
    transcripts = {}
    with tempfile.TemporaryDirectory() as name:
        for case in canned.CASES:
            found = json.dumps(transcript(DOCKER, case, Path(name))).replace(name, "$FOLDER")
            transcripts[json.dumps(case)] = json.loads(found)
        for command, columns in canned.SCREENS:
            screens[f"{columns} {command}"] = on_terminal(DOCKER, command.split(), Path(name), columns)
    (GOLDEN / "screens.json").write_text(json.dumps(screens, indent=1, sort_keys=True) + "\n")
    (GOLDEN / "transcripts.json").write_text(json.dumps(transcripts, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
