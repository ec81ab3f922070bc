"""RUN --security, --network=host and --device: what client and daemon allow together, and devices by CDI name."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.built import said
from tests.lab.daemon import Daemon, running_daemon

DEVICES = """
cdiVersion: "0.6.0"
kind: lab.example/toy
containerEdits:
  env: [TOY=yes]
devices:
- name: fuse
  containerEdits:
    deviceNodes:
    - {path: /dev/toy, hostPath: /dev/fuse, permissions: rw}
    mounts:
    - {hostPath: HERE/data, containerPath: /usr/share/toy, options: [ro, bind]}
    hooks:
    - {hookName: createRuntime, path: /bin/sh, args: [sh, -c, cat > HERE/state]}
- name: free
  annotations: {org.mobyproject.buildkit.device.autoallow: true}
  containerEdits: {env: [FREE=1]}
"""
FULL = "grep -q '^Seccomp:.0' /proc/self/status"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Dockerd's defaults, and a directory of devices."""
    here = tmp_path_factory.mktemp("cdi")
    (here / "data").mkdir()
    (here / "data/file").write_text("of the vendor\n")
    (here / "toy.yaml").write_text(DEVICES.replace("HERE", str(here)))
    (here / "broken.json").write_text("{")
    with running_daemon("--cdi-spec-dir", str(here)) as engine:
        engine.environment["DOCKER_BUILDKIT"] = "0"
        engine.docker("load", "-i", str(images.busybox()))
        yield engine


def build(daemon: Daemon, context: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    (context / "Dockerfile").write_text("FROM busybox\n" + text)
    done = daemon.corten("build", "-t", "t:1", "--force-rm", *flags, str(context), check=False)
    assert daemon.out("ps", "-aq") == ""
    return done


def refused(done: subprocess.CompletedProcess[str], text: str) -> None:
    assert done.returncode == 1, done.stdout
    assert text in done.stderr, done.stderr


def test_a_step_on_the_hosts_network_needs_the_clients_word(daemon: Daemon, tmp_path: Path) -> None:
    here = os.readlink(f"/proc/{daemon.pid}/ns/net")
    text = f"RUN --network=host test $(readlink /proc/self/ns/net) = '{here}'\nRUN test $(readlink /proc/self/ns/net) != '{here}'\n"
    done = build(daemon, tmp_path, text)
    refused(done, "network.host is not allowed")
    assert ">>> RUN --network=host" in done.stderr
    assert build(daemon, tmp_path, text, "--allow", "network.host").returncode == 0
    assert build(daemon, tmp_path, text.splitlines()[0], "--network", "host").returncode == 0
    refused(build(daemon, tmp_path, "RUN true\n", "--allow", "root"), "unknown entitlement root")


def test_insecure_steps_are_refused_unless_the_daemon_is_told_otherwise(daemon: Daemon, tmp_path: Path) -> None:
    refused(build(daemon, tmp_path, "RUN --security=insecure true\n"), "security.insecure is not allowed")
    refused(
        build(daemon, tmp_path, "RUN --security=insecure true\n", "--allow", "security.insecure"),
        "granting entitlement security.insecure is not allowed by build daemon configuration",
    )


def test_an_insecure_step_is_privileged_and_the_next_one_is_not(tmp_path: Path) -> None:
    engine = Daemon()
    (engine.root / "daemon.json").write_text(
        json.dumps({"builder": {"entitlements": {"security-insecure": True, "network-host": False}}})
    )
    with running_daemon(engine=engine):
        engine.docker("load", "-i", str(images.busybox()))
        text = f"RUN --security=insecure mount -t tmpfs x /mnt && {FULL} && touch /made\nRUN ! {FULL} && ! mount -t tmpfs x /mnt\n"
        text = text.replace("RUN", "RUN mkdir /mnt\nRUN", 1)
        refused(build(engine, tmp_path, text), "security.insecure is not allowed")
        done = build(engine, tmp_path, text, "--allow", "security.insecure")
        assert done.returncode == 0, done.stdout + done.stderr
        for flags in (("--network", "host"), ("--allow", "network.host")):
            refused(build(engine, tmp_path, "RUN true\n", *flags), "granting entitlement network.host is not allowed")
        engine.docker("rmi", "t:1")


def test_a_device_has_its_node_files_variables_and_hooks(daemon: Daemon, tmp_path: Path) -> None:
    see = "sh -c 'echo $TOY; cat /usr/share/toy/file; stat -c %t,%T /dev/toy; : <>/dev/toy && echo open; touch /usr/share/toy/x 2>/dev/null || echo read-only'"
    fuse = os.stat("/dev/fuse").st_rdev
    expected = f"yes\nof the vendor\n{os.major(fuse):x},{os.minor(fuse):x}\nopen\nread-only\n"
    run = daemon.docker("run", "--rm", "--device", "lab.example/toy=fuse", "busybox", "sh", "-c", see[7:-1])
    assert run.stdout == expected
    here = Path(daemon.flags[1])
    assert json.loads((here / "state").read_text())["status"] == "creating"
    (here / "state").unlink()
    text = f"RUN --device=lab.example/toy=fuse {see}\n"
    refused(build(daemon, tmp_path, text), "device lab.example/toy=fuse is requested by the build but not allowed")
    done = build(daemon, tmp_path, text, "--allow", "device=lab.example/toy=fuse")
    assert done.returncode == 0, done.stderr
    assert expected in said(done)
    assert (here / "state").exists()
    assert daemon.out("run", "--rm", "t:1", "find", "/", "-xdev", "-name", "toy") == ""
    assert daemon.out("info", "--format", "{{.CDISpecDirs}}") == f"[{here}]"


def test_a_vendor_may_give_a_device_to_every_build(daemon: Daemon, tmp_path: Path) -> None:
    text = "RUN --device=lab.example/toy=free test $TOY$FREE = yes1\nRUN --device=lab.example/none true\nRUN test -z $FREE\n"
    done = build(daemon, tmp_path, text)
    assert done.returncode == 0, done.stderr
    missing = build(daemon, tmp_path, "RUN --device=lab.example/none=1,required true\n")
    refused(missing, 'required device "lab.example/none=1" is not registered')


def test_a_container_with_a_device_that_is_not_there_does_not_start(daemon: Daemon) -> None:
    done = daemon.docker("run", "--rm", "--device", "lab.example/toy=no", "busybox", "true", check=False)
    assert done.returncode != 0
    assert "CDI device injection failed: unresolvable CDI devices lab.example/toy=no" in done.stderr
