"""Mounts, devices, masks and the root, as the container and the host see them."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.runtime.box import MASKED, Running, make_spec, run, shell

from corten.linux.mount import (
    AT_FDCWD,
    MNT_DETACH,
    MS_BIND,
    MS_PRIVATE,
    MS_SHARED,
    OPEN_TREE_CLONE,
    mount,
    open_tree,
    umount2,
)
from corten.runtime.launch import StartFailed


def bind(source: Path, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", *options]}


def with_mounts(root: Path, script: str, *mounts: dict[str, Any]) -> dict[str, Any]:
    spec = make_spec(root, "sh", "-c", script)
    spec["mounts"] += mounts
    return spec


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory of the host with one file."""
    path = tmp_path / "volume"
    path.mkdir()
    (path / "file").write_text("from the host\n")
    return path


@pytest.fixture
def shared_volume(volume: Path) -> Iterator[Path]:
    """`volume` as a mount of its own, with shared propagation, and a file system below it."""
    mount(str(volume), str(volume), None, MS_BIND)
    mount(None, str(volume), None, MS_PRIVATE)
    mount(None, str(volume), None, MS_SHARED)
    (volume / "below").mkdir()
    mount("below", str(volume / "below"), "tmpfs", 0)
    yield volume
    umount2(str(volume), MNT_DETACH)


def test_a_bind_mount_is_writable_unless_it_says_ro(busybox_root: Path, volume: Path) -> None:
    script = "echo new >/rw/new; echo no >/ro/no; echo $?; cat /ro/file"
    result = run(
        with_mounts(busybox_root, script, bind(volume, "/rw", "rprivate"), bind(volume, "/ro", "ro", "rprivate"))
    )
    assert result.out == "1\nfrom the host\n"
    assert "Read-only file system" in result.err
    assert (volume / "new").read_text() == "new\n"


def test_ro_leaves_mounts_below_writable_and_rro_does_not(busybox_root: Path, shared_volume: Path) -> None:
    script = "touch /ro/below/x; echo $?; touch /rro/below/x; echo $?; touch /rro/y; echo $?"
    spec = with_mounts(
        busybox_root,
        script,
        bind(shared_volume, "/ro", "ro", "rprivate"),
        bind(shared_volume, "/rro", "rro", "rprivate"),
    )
    assert run(spec).out.split() == ["0", "1", "1"]


def test_a_bind_without_r_leaves_out_what_is_mounted_below(busybox_root: Path, shared_volume: Path) -> None:
    entry = {**bind(shared_volume, "/v"), "options": ["bind", "private"]}
    assert run(with_mounts(busybox_root, "grep -c ' /v/below ' /proc/self/mountinfo", entry)).out.strip() == "0"


@pytest.mark.parametrize(
    ("option", "tag"), [("rprivate", ""), ("rslave", "master:"), ("rshared", "shared:"), ("", "master:")]
)
def test_propagation_of_a_bind_mount(busybox_root: Path, shared_volume: Path, option: str, tag: str) -> None:
    spec = with_mounts(
        busybox_root, "grep ' /v ' /proc/self/mountinfo", bind(shared_volume, "/v", *([option] if option else []))
    )
    fields = run(spec).out.split(" - ")[0].split()[6:]
    assert [field.partition(":")[0] + ":" for field in fields] == ([tag] if tag else [])


def test_a_mount_made_on_the_host_later_reaches_a_slave_and_never_the_other_way(
    busybox_root: Path, shared_volume: Path
) -> None:
    spec = make_spec(busybox_root, "sleep", "1000")
    spec["mounts"].append(bind(shared_volume, "/v", "rslave"))
    (shared_volume / "later").mkdir()
    with Running(spec) as box:
        mount("later", str(shared_volume / "later"), "tmpfs", 0)
        assert "/v/later" in box.exec("cat", "/proc/self/mountinfo").out


def test_mount_flags_of_a_bind_are_set(busybox_root: Path, volume: Path) -> None:
    entry = bind(volume, "/v", "nosuid", "nodev", "noexec", "noatime", "nosymfollow", "rprivate")
    flags = run(with_mounts(busybox_root, "grep ' /v ' /proc/self/mountinfo", entry)).out.split()[5].split(",")
    assert {"nosuid", "nodev", "noexec", "noatime", "nosymfollow"} <= set(flags)


def test_destinations_are_created_for_directories_and_files(busybox_root: Path, volume: Path) -> None:
    spec = with_mounts(
        busybox_root, "cat /new/dir/file /new/etc/one", bind(volume, "/new/dir"), bind(volume / "file", "/new/etc/one")
    )
    assert run(spec).out == "from the host\n" * 2
    assert (busybox_root / "new/dir").is_dir()
    assert (busybox_root / "new/etc/one").read_text() == ""


def test_a_directory_over_a_file_is_refused_and_the_container_is_gone(busybox_root: Path, volume: Path) -> None:
    with pytest.raises(
        StartFailed, match=r'error mounting ".*volume" to rootfs at "/etc/passwd": .*not a directory'
    ) as caught:
        run(with_mounts(busybox_root, "true", bind(volume, "/etc/passwd")))
    assert caught.value.stage == "mount"


def test_a_missing_source_is_named(busybox_root: Path, tmp_path: Path) -> None:
    with pytest.raises(
        StartFailed, match=r'error during container init: error mounting ".*nowhere".* no such file or directory'
    ):
        run(with_mounts(busybox_root, "true", bind(tmp_path / "nowhere", "/x")))


def test_tmpfs_has_its_size_and_keeps_the_mode_of_its_mount_point(busybox_root: Path) -> None:
    (busybox_root / "cache").mkdir(mode=0o751)
    entry = {"destination": "/cache", "type": "tmpfs", "source": "tmpfs", "options": ["noexec", "size=2m"]}
    other = {**entry, "destination": "/fresh"}
    out = run(with_mounts(busybox_root, "stat -c %a /cache /fresh; df -k /cache | tail -1", entry, other)).out.split()
    assert out[:2] == ["751", "1777"]
    assert out[3] == "2048"


def test_tmpcopyup_brings_the_images_files_along(busybox_root: Path) -> None:
    target = busybox_root / "data"
    (target / "sub").mkdir(parents=True)
    (target / "sub/file").write_text("kept")
    (target / "sub/link").symlink_to("/etc/passwd")
    os.chown(target / "sub/file", 12, 34)
    entry = {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
    script = "cat /data/sub/file; stat -c ' %u %g' /data/sub/file; readlink /data/sub/link; echo gone >/data/sub/file"
    assert run(with_mounts(busybox_root, script, entry)).out == "kept 12 34\n/etc/passwd\n"
    assert (target / "sub/file").read_text() == "kept"


def test_an_idmapped_mount_shows_other_owners(busybox_root: Path, volume: Path) -> None:
    mapping = [{"containerID": 0, "hostID": 5000, "size": 10}]
    entry = {**bind(volume, "/v"), "uidMappings": mapping, "gidMappings": mapping}
    os.chown(volume / "file", 0, 0)
    script = "stat -c %u:%g /v/file; touch /v/made; stat -c %u /v/made"
    result = run(with_mounts(busybox_root, script, entry))
    # An idmapped mount shows what the mapping makes of the file's owner: 0 becomes 5000.
    assert result.out.split()[0] == "5000:5000"


def test_later_mounts_lie_on_earlier_ones(busybox_root: Path, volume: Path) -> None:
    tmpfs = {"destination": "/a", "type": "tmpfs", "source": "tmpfs"}
    assert run(with_mounts(busybox_root, "ls /a /a/b", tmpfs, bind(volume, "/a/b"))).out == "/a:\nb\n\n/a/b:\nfile\n"


def test_default_devices_work_and_links_are_there(busybox_root: Path) -> None:
    script = (
        "for d in null zero full random urandom tty; do stat -c '%n %a %F %t:%T' /dev/$d; done;"
        "for l in fd stdin stdout stderr ptmx core; do readlink /dev/$l; done; head -c4 /dev/zero | wc -c; echo x >/dev/null"
    )
    assert shell(busybox_root, script).splitlines() == [
        "/dev/null 666 character special file 1:3",
        "/dev/zero 666 character special file 1:5",
        "/dev/full 666 character special file 1:7",
        "/dev/random 666 character special file 1:8",
        "/dev/urandom 666 character special file 1:9",
        "/dev/tty 666 character special file 5:0",
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
        "/proc/kcore",
        "4",
    ]


def test_devices_of_the_spec_are_made_with_mode_and_owner(busybox_root: Path) -> None:
    script = "stat -c '%a %u:%g %F %t:%T' /dev/net/tun /dev/pipe /opt/zero; head -c2 /opt/zero | wc -c; ls -a /dev | grep corten"
    spec = make_spec(busybox_root, "sh", "-c", script)
    spec["linux"]["devices"] = [
        {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o620, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
        {"path": "/opt/zero", "type": "c", "major": 1, "minor": 5},
    ]
    assert run(spec).out.splitlines() == [
        "620 3:4 character special file a:c8",
        "600 0:0 fifo 0:0",
        "666 0:0 character special file 1:5",
        "2",
    ]


def test_masked_files_read_as_empty_and_masked_directories_as_empty_and_read_only(busybox_root: Path) -> None:
    script = "\n".join(
        f"[ ! -e {path} ] || {{ [ -d {path} ] && ls -A {path} || cat {path}; }}; touch {path}/x 2>/dev/null && echo bad"
        for path in MASKED
    )
    assert run(make_spec(busybox_root, "sh", "-c", script)).out == ""
    present = [path for path in MASKED if os.path.exists(path)]
    assert present
    info = shell(busybox_root, "cat /proc/self/mountinfo")
    for path in present:
        assert f" {path} " in info


def test_read_only_paths_refuse_writes_and_keep_their_flags(busybox_root: Path) -> None:
    script = "echo 1 >/proc/sys/kernel/ns_last_pid; echo $?; grep ' /proc/sys ' /proc/self/mountinfo"
    result = run(make_spec(busybox_root, "sh", "-c", script))
    lines = result.out.splitlines()
    assert lines[0] == "1"
    assert "Read-only file system" in result.err
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(lines[1].split()[5].split(","))


def test_sys_and_cgroups_are_read_only(busybox_root: Path) -> None:
    script = "for d in /sys/kernel /sys/fs/cgroup $(ls -d /sys/fs/cgroup/*/); do echo try; mkdir $d/x 2>&1; done"
    out = run(make_spec(busybox_root, "sh", "-c", script)).out
    assert out.count("Read-only file system") == out.count("try") >= 2


def test_a_read_only_root_refuses_writes_but_volumes_and_dev_do_not(busybox_root: Path, volume: Path) -> None:
    spec = with_mounts(busybox_root, "touch /x; echo $?; touch /v/x /dev/shm/x /dev/x; echo $?", bind(volume, "/v"))
    spec["root"]["readonly"] = True
    assert run(spec).out.split() == ["1", "0"]


def test_the_hosts_mounts_are_gone_inside(busybox_root: Path) -> None:
    points = [line.split()[4] for line in shell(busybox_root, "cat /proc/self/mountinfo").splitlines()]
    assert points[0] == "/"
    assert all(point == "/" or point.split("/")[1] in {"proc", "dev", "sys"} for point in points)


def test_an_overlay_root_keeps_changes_in_its_upper_directory(busybox_root: Path, tmp_path: Path) -> None:
    for name in ("upper", "work", "top"):
        (tmp_path / name).mkdir()
    (tmp_path / "top/from-top").write_text("x")
    rootfs = {"type": "overlay", "dir": str(tmp_path), "lower": ["top", "rootfs"], "upper": "upper", "work": "work"}
    result = run(
        make_spec(busybox_root, "sh", "-c", "ls /from-top; echo 1 >/made; rm /etc/group; head -1 /proc/self/mountinfo"),
        rootfs=rootfs,
    )
    assert result.out.startswith("/from-top\n")
    assert "redirect_dir=nofollow" in result.out
    assert "metacopy=on" not in result.out
    assert (tmp_path / "upper/made").read_text() == "1\n"
    assert stat.S_ISCHR((tmp_path / "upper/etc/group").lstat().st_mode)
    assert not (busybox_root / "made").exists()


def test_overlay_redirects_that_a_layer_carries_are_not_followed(busybox_root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "upper").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "top").mkdir()
    (tmp_path / "top/etc2").mkdir()
    os.setxattr(tmp_path / "top/etc2", "trusted.overlay.redirect", b"/etc")
    rootfs = {"type": "overlay", "dir": str(tmp_path), "lower": ["top", "rootfs"], "upper": "upper", "work": "work"}
    result = run(make_spec(busybox_root, "sh", "-c", "ls /etc2; echo end"), rootfs=rootfs)
    assert "passwd" not in result.out


def test_a_bind_root_of_another_directory(busybox_root: Path) -> None:
    spec = make_spec(Path("/nonexistent"), "cat", "/etc/passwd")
    assert "root" in run(spec, rootfs={"type": "bind", "source": str(busybox_root)}).out


@pytest.mark.parametrize("mapping", [None, {"containerID": 0, "hostID": 0, "size": 65536}], ids=["plain", "userns"])
@pytest.mark.parametrize("propagation", ["", "rshared"])
def test_a_root_that_comes_as_a_mount(busybox_root: Path, mapping: dict[str, int] | None, propagation: str) -> None:
    spec = make_spec(Path("/nonexistent"), "sh", "-c", "cat /etc/passwd; touch /made; ls -d /work")
    spec["linux"]["rootfsPropagation"] = propagation
    if mapping is not None:
        spec["linux"]["namespaces"].append({"type": "user"})
        spec["linux"].update(uidMappings=[mapping], gidMappings=[mapping])
    root = open_tree(AT_FDCWD, str(busybox_root), OPEN_TREE_CLONE)
    try:
        result = run(spec, rootfs={"type": "mount"}, root_fd=root)
    finally:
        os.close(root)
    assert result.out.startswith("root")
    assert "/work" not in result.out
    assert (busybox_root / "made").exists()


@pytest.mark.parametrize(
    ("propagation", "tag"), [("rprivate", ""), ("rslave", ""), ("rshared", "shared:"), ("unbindable", "unbindable")]
)
def test_root_propagation(busybox_root: Path, propagation: str, tag: str) -> None:
    spec = make_spec(busybox_root, "head", "-1", "/proc/self/mountinfo")
    spec["linux"]["rootfsPropagation"] = propagation
    assert " ".join(run(spec).out.split(" - ")[0].split()[6:]).startswith(tag)


def test_without_pivot_root_the_container_is_confined_all_the_same(busybox_root: Path) -> None:
    result = run(
        make_spec(busybox_root, "sh", "-c", "ls -d /work; cat /etc/passwd | head -1; head -1 /proc/self/mountinfo"),
        no_pivot=True,
    )
    assert result.out.startswith("root:")
    assert "/work" not in result.out


def test_the_hosts_mount_table_stays_as_it_was(busybox_root: Path) -> None:
    before = subprocess.check_output(["cat", "/proc/self/mountinfo"])
    shell(busybox_root, "true")
    assert subprocess.check_output(["cat", "/proc/self/mountinfo"]) == before


def test_without_a_dev_mount_the_images_dev_is_not_touched(busybox_root: Path) -> None:
    (busybox_root / "dev").mkdir(exist_ok=True)
    spec = make_spec(busybox_root, "sh", "-c", "echo x >/dev/null; ls /dev | head -1")
    spec["mounts"] = [entry for entry in spec["mounts"] if not entry["destination"].startswith("/dev")]
    assert run(spec).code == 0
    assert list((busybox_root / "dev").iterdir()) == []


def test_a_sysctl_is_written_in_the_containers_namespace_only(busybox_root: Path) -> None:
    before = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    spec = make_spec(
        busybox_root, "sh", "-c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni"
    )
    spec["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shmmni": "77"}
    assert run(spec).out.split() == ["0", "77"]
    assert Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == before
