"""`python -m tests.qemu.run [PYTEST ARGUMENT...]`: run tests as root in a guest with cgroup v2; pytest's exit code.

Without arguments it runs PATHS, the tests that depend on the kind of cgroups. The serial console is passed on as it
comes. Needs no KVM: emulation runs Python about fifteen times slower than the host does.
"""

from __future__ import annotations

import re
import select
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.qemu.guest import Guest, build_guest, make_project_disk, small_lab_files

# What runs in the guest when nothing is chosen: what depends on cgroup v2, from single limits to the docker client, on
# a kernel that cannot mount layer images, which knows no `lowerdir+` either, and on one that has all kinds of links.
PATHS = [
    "tests/kernel/cgroup",
    "tests/kernel/shim",
    "tests/kernel/runtime/test_runtime_namespaces.py",
    "tests/kernel/runtime/test_runtime_process.py",
    "tests/kernel/runtime/test_runtime_exec.py",
    "tests/kernel/store/test_choice_of_the_driver.py",
    "tests/kernel/store/test_layers_are_mounted_once.py",
    "tests/contract/test_snapshots.py::test_many_layers[overlay2-120]",
    "tests/contract/test_network_drivers.py",
    "tests/conformance/test_docker_lifecycle.py",
    "tests/conformance/test_limits.py",
    "tests/conformance/test_builds_give_the_same_again.py::test_layers_are_those_of_every_machine",
]
# Emulation keeps no ratio of processor times.
LEFT_OUT = [
    "tests/conformance/test_limits.py::test_cpu_shares_divide_a_busy_processor",
    "tests/conformance/test_limits.py::test_cpu_quota_is_kept_as_a_ratio",
]

TIMEOUT_S = 20 * 60
_EXIT = re.compile(r"guest-exit: (\d+)")
_COMMAND = """
export TERM=dumb PYTHONPATH=/work/src:/work:/opt/site PYTHONDONTWRITEBYTECODE=1 TMPDIR=/var/tmp CI=true CORTEN_GUEST=1
export PATH=/work/tools:$PATH
echo /opt/site > /usr/lib/python3/dist-packages/site.pth  # for `python -I`, as the daemon is started
exec python3 -m tests.again -vv --color=no --tb=short {arguments}
"""


def _qemu(guest: Guest, project: Path) -> list[str]:
    return [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max", "-m", "2048",
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-nic", "none",
        "-kernel", str(guest.kernel), "-initrd", str(guest.initrd),
        "-append", "console=ttyS0 panic=-1 quiet loglevel=3",
        "-drive", f"file={guest.disk},if=virtio,format=raw,cache=unsafe,snapshot=on",
        "-drive", f"file={project},if=virtio,format=raw,cache=unsafe",
    ]  # fmt: skip


def run_in_guest(arguments: list[str], timeout_s: float = TIMEOUT_S) -> int:
    """Boot a guest, run pytest with `arguments`, print the console; returns pytest's exit code, 125 without one."""
    guest = build_guest()
    with tempfile.TemporaryDirectory(prefix="corten-guest-", dir="/var/tmp") as directory:
        project = Path(directory) / "project.img"
        make_project_disk(project, _COMMAND.format(arguments=shlex.join(arguments)), small_lab_files())
        machine = subprocess.Popen(_qemu(guest, project), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            return _follow(machine, time.monotonic() + timeout_s)
        finally:
            machine.kill()
            machine.wait()


def _follow(machine: subprocess.Popen[bytes], deadline: float) -> int:
    """Print the console's lines until the machine ends; the exit code that the guest reported."""
    assert machine.stdout
    code = 125
    pending = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([machine.stdout], [], [], left)[0]:
            break
        data = machine.stdout.read1(65536)  # type: ignore[attr-defined]
        if not data:
            return code
        *lines, pending = (pending + data).split(b"\n")
        for raw in lines:
            line = raw.decode(errors="replace").rstrip("\r")
            print(line, flush=True)
            if found := _EXIT.search(line):
                code = int(found[1])
    print("the guest did not end in time", flush=True)
    return 125


if __name__ == "__main__":
    sys.exit(run_in_guest(sys.argv[1:] or [*PATHS, *(f"--deselect={name}" for name in LEFT_OUT)]))
