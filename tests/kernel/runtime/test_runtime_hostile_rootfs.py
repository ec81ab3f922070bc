"""Images and volumes that try to get at the host while they are being mounted. Each names the attack it repeats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.runtime.box import make_spec, run

from corten.runtime.launch import StartFailed


def bind(source: Path, destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", "rprivate"]}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A directory of the host that nothing may touch."""
    path = tmp_path / "canary"
    path.mkdir()
    (path / "file").write_text("host")
    return path


def untouched(canary: Path) -> bool:
    return [entry.name for entry in canary.iterdir()] == ["file"] and (canary / "file").read_text() == "host"


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_or_sys_as_a_link_is_refused(busybox_root: Path, canary: Path, name: str) -> None:
    """CVE-2019-19921."""
    (busybox_root / name).rmdir() if (busybox_root / name).exists() else None
    (busybox_root / name).symlink_to(canary)
    with pytest.raises(StartFailed, match="must be mounted on ordinary directory"):
        run(make_spec(busybox_root, "true"))
    assert untouched(canary)


@pytest.mark.parametrize("target", ["/../../../../../../../..", "absolute"])
def test_dev_as_a_link_makes_no_device_on_the_host(busybox_root: Path, canary: Path, target: str) -> None:
    """CVE-2026-41579, CVE-2026-47766."""
    (busybox_root / "dev").rmdir() if (busybox_root / "dev").exists() else None
    (busybox_root / "dev").symlink_to(str(canary) if target == "absolute" else target + str(canary))
    with pytest.raises(StartFailed):
        run(make_spec(busybox_root, "true"))
    assert untouched(canary)


@pytest.mark.parametrize(
    "link", ["/../../../../../../../../../..{canary}", "{canary}", "../../../../../../../..{canary}"]
)
def test_a_volume_whose_destination_leads_out_stays_inside(
    busybox_root: Path, canary: Path, tmp_path: Path, link: str
) -> None:
    """CVE-2021-30465: the link is resolved inside the root, where it makes directories of its own."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (busybox_root / "escape").symlink_to(link.format(canary=canary))
    spec = make_spec(busybox_root, "sh", "-c", "echo out >/escape/x; ls /escape")
    spec["mounts"].append(bind(volume, "/escape"))
    assert run(spec).out == "x\n"
    assert (volume / "x").exists()
    assert untouched(canary)


def test_a_file_below_a_link_that_leads_out_is_made_inside(busybox_root: Path, canary: Path) -> None:
    """As with /etc -> / and a bind of /etc/hosts."""
    os.rename(busybox_root / "etc", busybox_root / "etc.real")
    (busybox_root / "etc").symlink_to(f"../../../../../../..{canary}")
    spec = make_spec(busybox_root, "cat", "/etc/hosts")
    spec["mounts"].append(bind(canary / "file", "/etc/hosts"))
    assert run(spec).out == "host"
    assert untouched(canary)
    assert (busybox_root / str(canary)[1:] / "hosts").exists()


@pytest.mark.parametrize("destination", ["/proc/sys/kernel", "/proc/self", "/link"])
def test_mounts_into_proc_are_refused(busybox_root: Path, canary: Path, destination: str) -> None:
    """CVE-2019-16884, CVE-2023-28642, CVE-2025-52881: no fake procfs files for the runtime to write."""
    (busybox_root / "link").symlink_to("/proc/sys")
    spec = make_spec(busybox_root, "true")
    spec["mounts"].append(bind(canary, destination))
    with pytest.raises(StartFailed, match=r"cannot be mounted because it is inside /proc|no such file"):
        run(spec)
    assert untouched(canary)


def test_a_bind_over_proc_does_not_redirect_sysctls(busybox_root: Path, canary: Path) -> None:
    """CVE-2025-52881: with a fake /proc writes go to a procfs of the runtime's own, or the start fails."""
    fake = canary.parent / "fake"
    (fake / "sys/net/ipv4").mkdir(parents=True)
    (fake / "sys/net/ipv4/ip_forward").write_text("fake")
    spec = make_spec(busybox_root, "cat", "/proc/sys/net/ipv4/ip_forward")
    spec["mounts"] = [entry for entry in spec["mounts"] if entry["destination"] != "/proc"]
    spec["mounts"].insert(0, bind(fake, "/proc"))
    spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    spec["linux"]["maskedPaths"] = spec["linux"]["readonlyPaths"] = []
    assert run(spec).out == "fake"
    assert (fake / "sys/net/ipv4/ip_forward").read_text() == "fake"


def test_masks_do_not_use_a_null_device_of_the_images_making(busybox_root: Path, canary: Path) -> None:
    """CVE-2025-31133: with a foreign /dev, whose null is a link or a file, masking fails instead of exposing."""
    dev = canary.parent / "dev"
    dev.mkdir()
    (dev / "null").symlink_to(canary / "file")
    spec = make_spec(busybox_root, "cat", "/proc/keys")
    spec["mounts"] = [entry for entry in spec["mounts"] if not entry["destination"].startswith("/dev")]
    spec["mounts"].append(bind(dev, "/dev"))
    with pytest.raises(StartFailed) as caught:
        run(spec)
    assert caught.value.stage == "masks"
    (dev / "null").unlink()
    (dev / "null").write_text("fake")
    with pytest.raises(StartFailed, match="not the null device"):
        run(spec)
    assert untouched(canary)


def test_a_loop_of_links_is_an_error(busybox_root: Path, canary: Path) -> None:
    (busybox_root / "a").symlink_to("b")
    (busybox_root / "b").symlink_to("a")
    spec = make_spec(busybox_root, "true")
    spec["mounts"].append(bind(canary, "/a/x"))
    with pytest.raises(StartFailed, match="too many levels of symbolic links"):
        run(spec)


@pytest.mark.parametrize("cwd", ["/proc/self/fd/{fd}", "/proc/self/fd/{fd}/../.."])
def test_no_descriptor_of_the_host_is_there_to_stand_in(busybox_root: Path, cwd: str) -> None:
    """CVE-2024-21626: a working directory through a leaked descriptor."""
    for fd in range(3, 40):
        spec = make_spec(busybox_root, "sh", "-c", "pwd; ls -d work", cwd=cwd.format(fd=fd))
        assert not _reaches_host(spec)


def _reaches_host(spec: dict[str, Any]) -> bool:
    """Whether the command ran and saw the host's root directory; a refused start is as good."""
    try:
        result = run(spec)
    except StartFailed as failed:
        return failed.stage not in {"cwd", "setup"}
    return result.code == 0 or "work\n" in result.out


@pytest.mark.parametrize("script", ["#!/proc/self/exe\n", "#!/proc/1/exe -c pass\n", "#! /entry2\n"])
def test_the_hosts_interpreter_is_not_run_inside(busybox_root: Path, script: str) -> None:
    """CVE-2019-5736."""
    for name, text in (("entry", script), ("entry2", "#!/proc/self/exe\n")):
        (busybox_root / name).write_text(text)
        (busybox_root / name).chmod(0o755)
    with pytest.raises(StartFailed, match="permission denied"):
        run(make_spec(busybox_root, "/entry"))


def test_a_fifo_as_passwd_does_not_hang_the_start(busybox_root: Path) -> None:
    (busybox_root / "etc/passwd").unlink()
    os.mkfifo(busybox_root / "etc/passwd")
    assert run(make_spec(busybox_root, "sh", "-c", "echo $HOME")).out == "/\n"


def test_python_files_of_the_image_are_never_imported(busybox_root: Path) -> None:
    """CVE-2019-14271, for Python: a module where the host's interpreter would look for it."""
    import encodings

    for directory in {os.path.dirname(encodings.__file__), os.path.dirname(os.__file__)}:
        inside = busybox_root / directory[1:]
        inside.mkdir(parents=True, exist_ok=True)
        for name in ("signal.py", "pwd.py", "idna.py", "posixpath.py", "fcntl.py"):
            (inside / name).write_text("open('/owned', 'w')")
    assert run(make_spec(busybox_root, "ls", "/owned")).code != 0
