"""Which packages a file system holds, as its databases say. Daemon; blocking, in disk threads.

Nothing of the image runs, and no link leads out of it: files are read through a `Tree`, whose links end in it. What a
hostile image may cost is bounded: bytes of a database, directories that are looked into, packages in all.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from corten.build.attestations.packages.apk import parse_apk
from corten.build.attestations.packages.dpkg import parse_dpkg
from corten.build.attestations.packages.package import Package
from corten.build.attestations.packages.python import parse_metadata
from corten.build.attestations.packages.rpm import NoDatabase, parse_rpm
from corten.build.trees.tree import Tree, join, resolve

_TEXT_LIMIT = 32 << 20
_RPM_LIMIT = 256 << 20  # of a whole distribution's packages it has some 200 MiB
_METADATA_LIMIT = 1 << 20
_PACKAGES_LIMIT = 20_000
_NAMES_LIMIT = 20_000  # that a directory is looked through for
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_TEXT_DATABASES: tuple[tuple[str, Callable[[str], Iterator[Package]]], ...] = (
    ("var/lib/dpkg/status", parse_dpkg),
    ("lib/apk/db/installed", parse_apk),
    ("usr/lib/apk/db/installed", parse_apk),
)
_RPM_DATABASES = ("usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite")
_RPM_OTHERS = ("usr/lib/sysimage/rpm/Packages", "var/lib/rpm/Packages", "usr/lib/sysimage/rpm/Packages.db",
               "var/lib/rpm/Packages.db")  # fmt: skip
_STATUS_DIRECTORY = "var/lib/dpkg/status.d"
_PYTHON_HOMES = (
    "usr/lib",
    "usr/local/lib",
    "usr/lib64",
    "usr/local/lib64",
    "opt/venv/lib",
    "venv/lib",
    "app/.venv/lib",
)
_PYTHON_FOLDERS = ("site-packages", "dist-packages")
_PYTHON_FILES = ((".dist-info", "METADATA"), (".egg-info", "PKG-INFO"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is; `distribution` and `release` as os-release names them, `unread` are databases that nobody read."""

    packages: tuple[Package, ...]
    distribution: str = ""
    release: str = ""
    name: str = ""
    unread: tuple[str, ...] = ()


def scan(tree: Tree, check: Callable[[], None] = lambda: None) -> Found:
    """Read all databases. `check` is called now and then, and may raise. Raises OSError."""
    scanner = _Scanner(tree, check)
    release = os_release(next((text for path in _OS_RELEASE if (text := scanner.text(path, _METADATA_LIMIT))), ""))
    packages = scanner.packages()
    return Found(
        packages=tuple(sorted(packages)),
        distribution=release.get("ID", ""),
        release=release.get("VERSION_ID", ""),
        name=release.get("PRETTY_NAME", ""),
        unread=tuple(sorted(scanner.unread)),
    )


def os_release(text: str) -> dict[str, str]:
    """The assignments of an os-release(5) file."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name.replace("_", "").isalnum():
            found[name] = value.strip().strip("\"'")[:256]
    return found


class _Scanner:
    def __init__(self, tree: Tree, check: Callable[[], None]) -> None:
        self._tree = tree
        self._check = check
        self.unread: set[str] = set()

    def packages(self) -> set[Package]:
        found: set[Package] = set()
        for path, package in self._all():
            if len(found) >= _PACKAGES_LIMIT:
                self.unread.add(path)
                break
            found.add(replace(package, found_in=f"/{path}"))
        return found

    def _all(self) -> Iterator[tuple[str, Package]]:
        seen: set[str] = set()
        for path, parse in _TEXT_DATABASES:
            real = self._real(path)
            if real and real not in seen:
                seen.add(real)
                yield from ((path, package) for package in parse(self.text(path, _TEXT_LIMIT)))
        for name in self._names(_STATUS_DIRECTORY):
            if not name.endswith(".md5sums"):
                path = join(_STATUS_DIRECTORY, name)
                yield from ((path, package) for package in parse_dpkg(self.text(path, _METADATA_LIMIT)))
        yield from self._rpm(seen)
        for path in self._python():
            yield from ((path, package) for package in parse_metadata(self.text(path, _METADATA_LIMIT)))

    def _rpm(self, seen: set[str]) -> Iterator[tuple[str, Package]]:
        for path in _RPM_DATABASES:
            real = self._real(path)
            if real and real not in seen:
                seen.add(real)
                try:
                    yield from ((path, package) for package in parse_rpm(self._bytes(path, _RPM_LIMIT), self._check))
                except NoDatabase:
                    self.unread.add(f"/{path}")
        self.unread |= {f"/{path}" for path in _RPM_OTHERS if self._real(path)}

    def _python(self) -> Iterator[str]:
        seen: set[str] = set()
        for home in _PYTHON_HOMES:
            versions = [join(home, name) for name in self._names(home) if name.startswith("python")]
            for folder in (join(version, name) for version in versions for name in _PYTHON_FOLDERS):
                real = self._real(folder, kind="directory")
                if not real or real in seen:
                    continue
                seen.add(real)
                for name in self._names(folder):
                    stem = next((file for ending, file in _PYTHON_FILES if name.endswith(ending)), "")
                    path = posixpath.join(folder, name, stem)
                    if stem and self._real(path):
                        yield path

    def _names(self, path: str) -> list[str]:
        """What a directory holds; nothing without one."""
        self._check()
        real = self._real(path, kind="directory")
        names = self._tree.names(real) if real else []
        if len(names) > _NAMES_LIMIT:
            self.unread.add(f"/{path}")
            return []
        return names

    def _real(self, path: str, kind: str = "file") -> str:
        """The path without links, where it leads to something of that kind; else nothing."""
        try:
            real = resolve(self._tree, path)
            node = self._tree.lstat(real)
        except OSError:
            return ""
        return real if node is not None and node.kind == kind else ""

    def text(self, path: str, limit: int) -> str:
        return self._bytes(path, limit).decode("utf-8", "replace")

    def _bytes(self, path: str, limit: int) -> bytes:
        """A file; nothing of one that is larger than `limit`."""
        self._check()
        real = self._real(path)
        node = self._tree.lstat(real) if real else None
        if node is None:
            return b""
        if node.size > limit:
            self.unread.add(f"/{path}")
            return b""
        return b"".join(self._tree.chunks(real))
