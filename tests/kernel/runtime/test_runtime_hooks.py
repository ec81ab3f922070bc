"""Hooks: where each kind runs, what it is told, and what its failure does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.runtime.box import make_spec, run

from corten.runtime.hooks import run_hooks
from corten.runtime.launch import StartFailed


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], **more}


@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_runtime_hooks_run_on_the_host_with_the_containers_state(busybox_root: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "state.json"
    spec = make_spec(busybox_root, "true")
    spec["annotations"] = {"a": "b"}
    spec["hooks"] = {kind: [hook(f"cat > {out}; readlink /proc/self/ns/mnt > {out}.ns")]}
    run(spec, bundle="/bundle")
    state = json.loads(out.read_text())
    pid = state.pop("pid")
    assert pid > 1
    assert state == {
        "ociVersion": "1.2.0",
        "id": "test",
        "status": "creating",
        "bundle": "/bundle",
        "annotations": {"a": "b"},
    }
    assert Path(f"{out}.ns").read_text().strip() == str(Path("/proc/self/ns/mnt").readlink())


def test_create_container_hooks_run_in_the_containers_namespaces_before_pivot_root(
    busybox_root: Path, tmp_path: Path
) -> None:
    spec = make_spec(busybox_root, "true")
    spec["hooks"] = {
        "createContainer": [
            hook(f"readlink /proc/self/ns/uts > {tmp_path}/uts; ls -d {busybox_root} > {tmp_path}/host")
        ]
    }
    run(spec)
    assert (tmp_path / "uts").read_text().strip() != str(Path("/proc/self/ns/uts").readlink())
    assert (tmp_path / "host").read_text().strip() == str(busybox_root)


def test_start_container_hooks_run_inside_before_the_command(busybox_root: Path) -> None:
    spec = make_spec(busybox_root, "cat", "/tmp/made")
    spec["hooks"] = {"startContainer": [hook("cat /proc/self/status | grep CapEff > /tmp/made")]}
    assert run(spec).out.split() == ["CapEff:", "00000000a80425fb"]


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_a_failing_hook_fails_the_start_in_runcs_words(busybox_root: Path, kind: str) -> None:
    spec = make_spec(busybox_root, "true")
    spec["hooks"] = {kind: [hook("true"), hook("echo told >&2; exit 3")]}
    with pytest.raises(
        StartFailed, match=rf"error running {kind} hook #1: exit status 3, stdout: , stderr: told"
    ) as caught:
        run(spec)
    assert caught.value.stage == "hook"


def test_a_hook_that_hangs_is_killed_after_its_timeout() -> None:
    with pytest.raises(StartFailed, match=r"hook #0: hook ran past specified timeout of 0.2s"):
        run_hooks("poststop", [hook("exec sleep 1000", timeout=0.2)], {})


def test_a_hook_that_does_not_read_its_state_and_talks_a_lot_is_fine() -> None:
    state = {"annotations": {"big": "x" * (1 << 20)}}
    run_hooks(
        "poststart",
        [
            hook(
                "exec 0<&-; i=0; while [ $i -lt 2000 ]; do echo 0123456789012345678901234567890123456789012345678901234567890; i=$((i+1)); done"
            )
        ],
        state,
    )


def test_a_hook_that_is_missing_is_named() -> None:
    with pytest.raises(StartFailed, match="/nowhere"):
        run_hooks("poststop", [{"path": "/nowhere"}], {})
