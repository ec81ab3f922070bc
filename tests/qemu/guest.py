"""Build what a guest boots from: kernel, initrd, a root disk with Python, and a small disk with the project.

All from Debian's and PyPI's packages. Kernel and root disk are kept (tests.lab.cache); the project's disk is made
for each run. The guest's Python is Debian bookworm's, whatever the host runs.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cache import ROOT as CACHE
from tests.lab.cache import cached, ensure_tools, run
from tests.lab.daemon import docker_cli
from tests.lab.images import busybox_rootfs

PROJECT = Path(__file__).resolve().parents[2]
_SUITE = "bookworm"
_PYTHON = "3.11"
_TEST_PACKAGES = ("pytest>=8", "pytest-asyncio>=0.24", "hypothesis>=6", "docker>=7.1", "pexpect>=4.9")
_DEBIAN_PACKAGES = ("python3", "kmod", "busybox-static", "iproute2", "nftables", "ca-certificates")
# What the initrd needs to mount the root disk; their dependencies come from modules.dep.
_BOOT_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
_SITE = "opt/site"

_INITRD_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module; done
tries=0
until /bin/busybox mount -t ext4 -o noatime /dev/vda /root 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { echo "no root disk"; /bin/busybox poweroff -f; }
    /bin/busybox usleep 50000
done
exec /bin/busybox switch_root /root /sbin/guest-init
"""

_GUEST_INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o mode=0620,gid=5,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs -o mode=755 run /run
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mkdir -p /work /var/tmp
mount -t ext4 -o noatime /dev/vdb /work
ip link set lo up
hostname guest
for module in overlay veth bridge nf_tables tun; do modprobe -q $module; done
cd /work
sh /work/command
echo "guest-exit: $?"
sync
echo o > /proc/sysrq-trigger
sleep 60
"""


@dataclass(frozen=True)
class Guest:
    """The files to boot from."""

    kernel: Path
    initrd: Path
    disk: Path


def _requirements() -> list[str]:
    document = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    return [*document["project"]["dependencies"], *_TEST_PACKAGES]


def build_guest() -> Guest:
    """The kept kernel, initrd and root disk; built when the recipe changed."""
    # ensure_tools takes no underscore in a program's name; the package has both programs.
    ensure_tools(
        qemu_system_i386="qemu-system-x86", mmdebstrap="mmdebstrap", busybox="busybox-static", mke2fs="e2fsprogs"
    )
    recipe = "\n".join(
        [_SUITE, *_DEBIAN_PACKAGES, *_requirements(), *_BOOT_MODULES, _INITRD_INIT, _GUEST_INIT, "layout 1"]
    )
    directory = cached("qemu-guest", recipe, _build)
    return Guest(directory / "vmlinuz", directory / "initrd", directory / "disk.img")


def _build(directory: Path) -> None:
    directory.mkdir()
    root = directory / "root"
    try:
        run(
            "mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory",
            "--include=" + ",".join(_DEBIAN_PACKAGES), _SUITE, str(root),
        )  # fmt: skip
        version = _install_kernel(directory, root)
        _install_python_packages(root)
        init = root / "sbin/guest-init"
        init.write_text(_GUEST_INIT)
        init.chmod(0o755)
        for name in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
            shutil.rmtree(root / name, ignore_errors=True)
        _write_initrd(directory / "initrd", root, version)
        make_disk(directory / "disk.img", root, "2G")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _install_kernel(directory: Path, root: Path) -> str:
    """Unpack Debian's cloud kernel: the image to `directory`, its modules into `root`. Returns the version."""
    run("apt-get", "update", "-qq")
    depends = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    package = next(word for word in depends.split() if word.startswith("linux-image-") and word[12].isdigit())
    unpacked = directory / "kernel"
    unpacked.mkdir()
    # apt drops privileges to a user who may not write here.
    run("apt-get", "download", "-o", "APT::Sandbox::User=root", package, cwd=unpacked)
    (archive,) = unpacked.glob("*.deb")
    run("dpkg", "-x", str(archive), str(unpacked))
    (kernel,) = (unpacked / "boot").glob("vmlinuz-*")
    version = kernel.name.removeprefix("vmlinuz-")
    shutil.move(kernel, directory / "vmlinuz")
    (modules,) = (path for path in (unpacked / "lib/modules", unpacked / "usr/lib/modules") if path.is_dir())
    shutil.copytree(modules / version, root / "usr/lib/modules" / version)
    run("chroot", str(root), "depmod", version)
    shutil.rmtree(unpacked)
    return version


def _install_python_packages(root: Path) -> None:
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--target", str(root / _SITE), "--only-binary=:all:", "--python-version", _PYTHON,
        "--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64", *_requirements(),
    )  # fmt: skip
    # Compiling in the guest would take minutes.
    run("chroot", str(root), f"python{_PYTHON}", "-m", "compileall", "-q", "/" + _SITE)


def _write_initrd(path: Path, root: Path, version: str) -> None:
    base = root / "usr/lib/modules" / version
    dependencies: dict[str, list[str]] = {}
    files: dict[str, str] = {}
    for line in (base / "modules.dep").read_text().splitlines():
        file, _, needs = line.partition(":")
        name = Path(file).name.split(".ko")[0].replace("-", "_")
        files[name] = file
        dependencies[name] = [Path(one).name.split(".ko")[0].replace("-", "_") for one in needs.split()]
    order: list[str] = []

    def add(name: str) -> None:
        for needed in dependencies[name]:
            add(needed)
        if name not in order:
            order.append(name)

    builtin = {
        Path(line).name.split(".ko")[0].replace("-", "_")
        for line in (base / "modules.builtin").read_text().splitlines()
    }
    for name in _BOOT_MODULES:
        if name not in builtin:
            add(name)
    archive = io.BytesIO()
    busybox = shutil.which("busybox")
    assert busybox
    for directory in ("bin", "dev", "root", "modules"):
        _cpio(archive, directory, 0o040755, b"")
    _cpio(archive, "bin/busybox", 0o100755, Path(busybox).read_bytes())
    _cpio(archive, "init", 0o100755, _INITRD_INIT.encode())
    _cpio(archive, "modules/order", 0o100644, "\n".join(f"{name}.ko" for name in order).encode())
    for name in order:
        _cpio(archive, f"modules/{name}.ko", 0o100644, _module(base / files[name]))
    _cpio(archive, "TRAILER!!!", 0, b"")
    path.write_bytes(archive.getvalue())


def _module(path: Path) -> bytes:
    if path.suffix == ".xz":
        return subprocess.run(["xz", "-dc", str(path)], stdout=subprocess.PIPE, check=True).stdout
    return path.read_bytes()


def _cpio(archive: io.BytesIO, name: str, mode: int, data: bytes) -> None:
    """Append one member in the "newc" form (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    encoded = name.encode() + b"\0"
    fields = (archive.tell() + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    archive.write(b"070701" + b"".join(f"{field:08X}".encode() for field in fields) + encoded)
    archive.write(b"\0" * (-archive.tell() % 4) + data)
    archive.write(b"\0" * (-archive.tell() % 4))


def make_disk(path: Path, content: Path, size: str) -> None:
    """An ext4 image of `size` that holds the files of `content`."""
    run("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", str(content), str(path), size)


def make_project_disk(path: Path, command: str, extra: Iterable[Path] = ()) -> None:
    """A disk with the project's sources and tests, `extra` files of the cache, and `command` for the guest's shell."""
    content = path.with_name(path.name + ".content")
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("src", "tests"):
        shutil.copytree(PROJECT / name, content / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy2(PROJECT / name, content / name)
    if (PROJECT / "bin").is_dir():
        shutil.copytree(PROJECT / "bin", content / "bin", symlinks=True)
    (content / "tools").mkdir()
    shutil.copy2(docker_cli(), content / "tools/docker")
    kept = content / ".cache/lab"
    kept.mkdir(parents=True)
    for source in extra:
        shutil.copytree(source, kept / source.name, symlinks=True) if source.is_dir() else shutil.copy2(source, kept)
    (content / "command").write_text(command)
    if sys.version_info[:2] == tuple(int(part) for part in _PYTHON.split(".")):
        run(sys.executable, "-m", "compileall", "-q", "-s", str(content), "-p", "/work", str(content / "src"))
    try:
        make_disk(path, content, "1G")
    finally:
        shutil.rmtree(content)


def small_lab_files() -> list[Path]:
    """What the lab keeps and tests in the guest can use as it is: the busybox files."""
    busybox_rootfs()
    return sorted(path for path in CACHE.iterdir() if "busybox" in path.name and path.suffix != ".partial")
