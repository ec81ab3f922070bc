"""`corten image mount`, `unmount`, `diff` and `tree` on a real engine: read-only, held, found again, without a trace."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab import images
from tests.lab.daemon import Daemon


@pytest.fixture
def built(daemon: Daemon) -> Iterator[str]:
    """An image with a layer upon busybox: a file of the image's own where a container has one mounted."""
    script = "echo new >/new; rm /etc/group; echo 10.0.0.1 box >/hosts; ln -s /new /link; mkfifo /fifo; chmod 4755 /new"
    container = daemon.out("run", "-d", "--init", "busybox", "sh", "-c", f"{script}; touch /done; sleep 1000")
    while "/done" not in daemon.out("diff", container):
        pass
    daemon.out("commit", "-c", 'CMD ["built"]', container, "built:1")
    daemon.out("rm", "-f", container)
    yield "built:1"
    daemon.docker("rmi", "-f", "built:1", check=False)


def mounts(daemon: Daemon) -> list[dict[str, str]]:
    lines = daemon.corten("image", "mount", "--format", "json").stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_an_image_is_seen_in_a_directory_and_nothing_can_be_written(daemon: Daemon, built: str, tmp_path: Path) -> None:
    target = tmp_path / "with space"
    target.mkdir()
    assert daemon.corten("image", "mount", built, str(target)).stdout.strip() == str(target)
    try:
        assert (target / "new").read_text() == "new\n"
        assert not (target / "etc/group").exists()
        assert not (target / ".dockerenv").exists()
        assert not (target / "etc/hosts").exists()
        with pytest.raises(OSError, match="Read-only file system"):
            (target / "more").touch()
        flags = next(
            line.split()[3] for line in Path("/proc/mounts").read_text().splitlines() if "with\\040space" in line
        )
        assert {"ro", "nosuid", "nodev"} <= set(flags.split(","))
        assert [(m["Image"], m["Target"]) for m in mounts(daemon)] == [(built, str(target))]
    finally:
        assert daemon.corten("image", "unmount", str(target)).stdout.strip() == str(target)
    assert list(target.iterdir()) == []
    assert mounts(daemon) == []


def test_a_directory_is_made_and_goes_again(daemon: Daemon) -> None:
    target = Path(daemon.corten("image", "mount", "busybox").stdout.strip())
    assert (target / "etc/passwd").read_text().startswith("root:")
    daemon.corten("image", "unmount", "busybox")
    assert not target.exists()


def test_a_mounted_image_is_in_use(daemon: Daemon, built: str, tmp_path: Path) -> None:
    image_id = daemon.inspect(built)["Id"]
    daemon.corten("image", "mount", built, str(tmp_path))
    for force in ((), ("-f",)):
        refused = daemon.docker("rmi", *force, image_id[7:19], check=False)
        assert f"(cannot be forced) - image is mounted at {tmp_path}" in refused.stderr
    refused = daemon.docker("rmi", built, check=False)
    assert f'unable to remove repository reference "{built}" (must force)' in refused.stderr
    assert daemon.out("rmi", "-f", built) == f"Untagged: {built}"
    assert daemon.out("image", "prune", "-f") == "Total reclaimed space: 0B"
    assert (tmp_path / "new").exists()
    daemon.corten("image", "unmount", str(tmp_path))
    assert f"deleted: {image_id}" in daemon.out("image", "prune", "-f")


def test_mounts_are_found_again_after_a_crash_and_those_that_are_gone_are_forgotten(
    daemon: Daemon, tmp_path: Path
) -> None:
    kept, gone, taken = (tmp_path / name for name in ("kept", "gone", "taken"))
    for target in (kept, gone, taken):
        target.mkdir()
        daemon.corten("image", "mount", "busybox", str(target))
    daemon.kill()
    subprocess.run(["umount", gone], check=True)
    subprocess.run(["umount", taken], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", taken], check=True)
    try:
        daemon.start()
        assert [m["Target"] for m in mounts(daemon)] == [str(kept)]
        assert (kept / "etc/passwd").exists()
        refused = daemon.corten("image", "unmount", str(taken), check=False)
        assert f"no image is mounted at {taken}" in refused.stderr
        assert os.path.ismount(taken)
    finally:
        subprocess.run(["umount", taken], check=True)
    daemon.corten("image", "unmount", "busybox")
    assert not os.path.ismount(kept)


def test_a_directory_in_use_is_told_and_taken_by_force(daemon: Daemon, tmp_path: Path) -> None:
    daemon.corten("image", "mount", "busybox", str(tmp_path))
    with open(tmp_path / "etc/passwd") as held:
        refused = daemon.corten("image", "unmount", str(tmp_path), check=False)
        assert refused.returncode == 1
        assert f"{tmp_path} is in use" in refused.stderr
        daemon.corten("image", "unmount", "-f", str(tmp_path))
        assert held.readline().startswith("root:")
    assert not os.path.ismount(tmp_path)


def test_wrong_directories_and_names_get_one_sentence(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(daemon.data_root)
    cases = {
        ("mount", "busybox", str(tmp_path / "none")): f"cannot mount at {tmp_path}/none: no such directory",
        ("mount", "busybox", str(tmp_path / "file")): f"cannot mount at {tmp_path}/file: it is no directory",
        ("mount", "busybox", "/"): "cannot mount at /: the engine keeps its own files there",
        ("mount", "busybox", str(tmp_path / "link")): f"cannot mount at {tmp_path}/link: the engine keeps its own files there",
        ("mount", "busybox", str(daemon.root)): f"cannot mount at {daemon.root}: the engine keeps its own files there",
        ("mount", "nope", str(tmp_path)): "No such image: nope:latest",
        ("unmount", str(tmp_path)): f"no image is mounted at {tmp_path}",
        ("unmount", "busybox"): "image busybox is not mounted",
        ("tree", "nope"): "No such image: nope:latest",
        ("diff", "busybox", "nope"): "No such image: nope:latest",
    }  # fmt: skip
    for arguments, text in cases.items():
        refused = daemon.corten("image", *arguments, check=False)
        assert (refused.returncode, refused.stderr) == (1, f"Error response from daemon: {text}\n")
    assert mounts(daemon) == []
    daemon.corten("image", "mount", "busybox", str(tmp_path))
    refused = daemon.corten("image", "mount", "busybox", str(tmp_path), check=False)
    assert f"busybox:latest is mounted at {tmp_path}" in refused.stderr
    daemon.corten("image", "unmount", str(tmp_path))


def test_a_difference_is_what_was_done(daemon: Daemon, built: str) -> None:
    told = daemon.corten("image", "diff", "busybox", built).stdout
    assert '  config.Cmd: ["sh"] -> ["built"]\n' in told
    files = told.partition("Files:\n")[2].partition("\n\n")[0].splitlines()
    assert {"A /new  (4B)", "D /etc/group  (62B)", "A /link", "A /fifo"} <= set(files)
    assert not [line for line in files if line.startswith(("A /bin", "C /bin", "D /bin"))]
    answer = json.loads(daemon.corten("image", "diff", "--format", "json", built, "busybox").stdout)
    assert {"Path": "/etc/group", "Kind": "A", "OldSize": 0, "NewSize": 62, "What": []} in answer["Files"]
    tree = daemon.corten("image", "tree", built).stdout
    assert "shared with busybox:latest" in tree
    assert images.busybox().exists()
