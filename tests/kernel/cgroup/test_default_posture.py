"""A container with the default capabilities, filter, masks and devices, in its cgroup: looked at from inside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.lab.images import busybox_rootfs

from corten.linux.cgroup import Cgroup
from corten.linux.cgroup.devices import DEFAULT_RULES
from corten.linux.seccomp import compile_filter
from corten.runtime.launch import InitProcess, LaunchRequest
from corten.security.capabilities import DEFAULT, effective_caps
from corten.security.defaults import READONLY_PATHS, masked_paths
from corten.security.seccomp import default_profile

pytestmark = pytest.mark.root

NAMESPACES = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]


def spec_of(root: Path, script: str, capabilities: list[str]) -> dict:
    sets = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    return {
        "ociVersion": "1.2.0",
        "root": {"path": str(root)},
        "process": {
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "capabilities": sets,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "namespaces": NAMESPACES,
            "maskedPaths": list(masked_paths()),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }


@pytest.fixture
def contained(cgroup: Cgroup, tmp_path: Path):
    """Run a shell script in a container with the default posture; returns what it printed."""
    subprocess.run(["tar", "-xf", busybox_rootfs(), "-C", tmp_path], check=True)
    cgroup.apply({"devices": [{"allow": False}, *DEFAULT_RULES], "pids": {"limit": 64}})

    def run(script: str, capabilities: list[str] | None = None) -> str:
        granted = effective_caps() if capabilities is None else capabilities
        fd = cgroup.clone_fd()
        init = InitProcess.spawn(namespaces=NAMESPACES, cgroup_fd=fd)
        try:
            if fd is None:
                cgroup.add(init.pid)
            else:
                os.close(fd)
            request = LaunchRequest(
                spec=spec_of(tmp_path, script, granted), seccomp_filter=compile_filter(default_profile(granted))
            )
            output, end = os.pipe()
            null = os.open("/dev/null", os.O_RDONLY)
            init.configure(request, stdio=(null, end, end))
            os.close(end)
            os.close(null)
            init.wait_ready()
            assert cgroup.pids() == [init.pid]
            init.release()
            with os.fdopen(output) as file:
                text = file.read()
            assert os.waitstatus_to_exitcode(os.waitpid(init.pid, 0)[1]) >= 0
        finally:
            init.close()
        return text

    return run


def test_capabilities_and_filter_are_those_of_docker(contained):
    status = dict(line.split(":\t", 1) for line in contained("cat /proc/self/status").splitlines() if ":\t" in line)
    assert {status[name] for name in ("CapBnd", "CapPrm", "CapEff")} == {"00000000a80425fb"}
    assert {status[name] for name in ("CapInh", "CapAmb")} == {"0000000000000000"}
    assert status["Seccomp"] == "2"
    assert len(DEFAULT) == 14


def test_ways_out_are_closed(contained):
    tries = [
        "unshare -n true",
        "unshare -U true",
        "mount -t tmpfs none /tmp",
        "hostname other",
        "swapoff -a; swapon /tmp/x",
        "date -s 2020-01-01",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "mknod /tmp/disk b 254 0 && cat /tmp/disk",
    ]
    text = contained(
        "\n".join(f"({one}) >/dev/null 2>&1 && test -s /proc/self/stat && echo 'open: {one}'" for one in tries)
    )
    assert text == ""


def test_masked_files_are_empty(contained):
    assert contained("wc -c < /proc/interrupts; wc -c < /proc/timer_list 2>/dev/null || echo 0").split() == ["0", "0"]


def test_the_usual_work_goes_on(contained):
    script = "id -u; chown 1:1 /tmp; mknod /tmp/null c 1 3; echo x > /dev/null; ls /dev | wc -l; (sleep 0 &); echo done"
    assert contained(script).split()[0] == "0"
    assert contained(script).split()[-1] == "done"
    assert contained("chroot / /bin/true && echo worked") == "worked\n"


def test_its_own_cgroup_is_its_root(contained):
    paths = {line.split(":", 2)[2] for line in contained("cat /proc/self/cgroup").splitlines()}
    assert paths == {"/"}
