"""docs/architecture.md as a test: which package may know which, and what the zygote may load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.arch.sources import ROOT, files, imports, module_of, package_of

LEVELS = (
    ("errors",),
    ("lib", "spec", "linux"),
    ("runtime", "store", "registry", "security", "network", "logging_drivers", "volumes", "shim"),
    ("engine",),
    ("build",),
    ("api",),
    ("daemon",),
)
LEVEL = {package: number for number, packages in enumerate(LEVELS) for package in packages}
SAME_LEVEL = {("shim", "runtime")}
# Where the command line hands over to another program that the package holds; and what both ends of a build have to
# agree on, which needs the standard library alone.
DOORS = {
    ("cli", "corten.daemon.main"),
    ("cli", "corten.runtime.oci.main"),
    ("cli", "corten.build.dockerfile.dockerignore"),
    # what `import corten` offers, for type checkers: it is loaded at its first use
    ("", "corten.cli.build.api"),
    ("", "corten.cli.build.told"),
    ("client", "corten.build.local.frames"),
    ("cli", "corten.build.local.agent_messages"),
}
SIDE = {"client": {"errors", "client"}, "cli": {"errors", "client", "cli"}}
# What runs in the zygote, a shim or init: stdlib and these only.
ZYGOTE_SIDE = {"errors", "linux", "runtime", "shim"}
ZYGOTE_ALSO = {"corten", "corten.lib.atomicfile"}
DAEMON_SIDE_OF_SHIM = {
    "corten.shim.client",
    "corten.shim.connection",
    "corten.shim.socket_request",
    "corten.shim.zygote_process",
}
# Each costs milliseconds of every fork or megabytes of every shim.
HEAVY = {
    "argparse", "asyncio", "concurrent", "dataclasses", "email", "http", "inspect", "logging", "msgspec",
    "multiprocessing", "pathlib", "shutil", "sqlite3", "ssl", "subprocess", "tempfile", "unittest", "urllib",
}  # fmt: skip


def ours(file: Path) -> set[str]:
    return {name for name in imports(file) if name == "corten" or name.startswith("corten.")}


def is_allowed(package: str, target: str) -> bool:
    other = package_of(target)
    if other in ("", package) or (package, target) in DOORS or package in ("testing", "__main__"):
        return True
    if package in SIDE:
        return other in SIDE[package]
    if other not in LEVEL:
        return False
    return LEVEL[other] < LEVEL[package] or (package, other) in SAME_LEVEL


@pytest.mark.parametrize("file", files(), ids=str)
def test_a_file_imports_only_from_the_layers_above_it(file):
    package = package_of(module_of(file))
    assert package in LEVEL or package in ("", "client", "cli", "testing", "__main__"), f"{package} has no layer"
    assert [target for target in sorted(ours(file)) if not is_allowed(package, target)] == []


@pytest.mark.parametrize("file", [f for f in files() if package_of(module_of(f)) in ZYGOTE_SIDE], ids=str)
def test_the_zygotes_side_imports_the_standard_library_and_itself_only(file):
    if module_of(file) in DAEMON_SIDE_OF_SHIM:
        return
    for name in imports(file):
        if name == "corten" or name.startswith("corten."):
            assert package_of(name) in ZYGOTE_SIDE or name in ZYGOTE_ALSO
            assert name not in DAEMON_SIDE_OF_SHIM
        else:
            assert name.partition(".")[0] in sys.stdlib_module_names


def loaded_after(code, *flags):
    """The modules of a fresh interpreter that has run `code`."""
    begin = f"import sys, json; sys.path.insert(0, {str(ROOT.parent)!r}); "
    program = f"{begin}{code}; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-I", *flags, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(result.stdout)


def test_an_idle_daemon_does_without_what_builds():
    loaded = loaded_after("import corten.daemon.wire; from corten.api.routes import collect; collect()")
    assert "corten.api.routes.build" in loaded
    dear = (
        "service",
        "builder",
        "classic",
        "buildkit",
        "session",
        "caching",
        "exporters",
        "attestations",
        "git.remote",
    )
    assert [name for name in loaded if name.startswith(tuple(f"corten.build.{part}" for part in dear))] == []
    assert not {"h2", "yaml", "urllib3"} & set(loaded)


def test_the_zygote_loads_nothing_heavy():
    loaded = loaded_after("import corten.shim.zygote as z; getattr(z, 'preload', lambda: None)()", "-S")
    assert sorted({name.partition(".")[0] for name in loaded} & HEAVY) == []
    foreign = [name for name in loaded if name.startswith("corten.") and package_of(name) not in ZYGOTE_SIDE]
    assert [name for name in foreign if name not in ZYGOTE_ALSO | {"corten.lib"}] == []


def test_only_the_composition_root_knows_the_daemon():
    for file in files():
        package = package_of(module_of(file))
        if package != "daemon":
            known = {target for target in ours(file) if package_of(target) == "daemon"}
            assert known <= {door for _package, door in DOORS}, file
