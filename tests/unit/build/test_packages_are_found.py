"""Package databases, read as text and bytes from file systems that nobody vouches for."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.build.trees import tree_of

from corten.build.attestations.packages.apk import parse_apk
from corten.build.attestations.packages.dpkg import parse_dpkg
from corten.build.attestations.packages.package import Package, purl
from corten.build.attestations.packages.python import parse_metadata
from corten.build.attestations.packages.rpm import NoDatabase, parse_rpm
from corten.build.attestations.sbom import sbom
from corten.build.attestations.scan import Found, os_release, scan

STATUS = """Package: libc6
Status: install ok installed
Version: 2.36-9+deb12u9
Architecture: amd64
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Description: GNU C Library: Shared libraries
 Version: 0
Homepage: https://www.gnu.org/software/libc/libc.html

Package: gone
Status: deinstall ok config-files
Version: 1
"""
INSTALLED = "C:Q1x\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\nU:https://musl.libc.org/\nm:Timo\nF:lib\nR:ld\n\nP:half\n\n"
METADATA = "Metadata-Version: 2.1\nName: Flask_Thing\nVersion: 3.0\nLicense: BSD\nAuthor: A\n\nName: body\nVersion: 9\n"
OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n# comment\n'


def header(**tags: str | int) -> bytes:
    numbers = {"name": 1000, "version": 1001, "release": 1002, "epoch": 1003, "license": 1014, "arch": 1022}
    index, data = b"", b""
    for name, value in tags.items():
        if isinstance(value, int):
            data += b"\0" * (-len(data) % 4)
            index += struct.pack(">IIII", numbers[name], 4, len(data), 1)
            data += struct.pack(">I", value)
        else:
            index += struct.pack(">IIII", numbers[name], 6, len(data), 1)
            data += value.encode() + b"\0"
    return struct.pack(">II", len(tags), len(data)) + index + data


def rpm_database(path: Path, blobs: list[bytes], page: int = 4096) -> bytes:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size={page}")
        connection.execute("CREATE TABLE Name (key TEXT, hnum INTEGER)")
        connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(blob,) for blob in blobs])
        connection.commit()
    return path.read_bytes()


def test_dpkg_lists_what_is_installed() -> None:
    (found,) = parse_dpkg(STATUS)
    assert (found.name, found.version, found.architecture) == ("libc6", "2.36-9+deb12u9", "amd64")
    assert found.homepage == "https://www.gnu.org/software/libc/libc.html"
    assert purl(found, "debian", "12") == "pkg:deb/debian/libc6@2.36-9+deb12u9?arch=amd64&distro=debian-12"


def test_apk_lists_what_is_installed() -> None:
    (found,) = parse_apk(INSTALLED)
    assert (found.name, found.version, found.license) == ("musl", "1.2.4-r2", "MIT")
    assert purl(found, "alpine", "3.19") == "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.19"


def test_python_says_its_name_in_the_head_alone() -> None:
    (found,) = parse_metadata(METADATA)
    assert (found.name, found.version) == ("Flask_Thing", "3.0")
    assert purl(found, "debian", "12") == "pkg:pypi/flask-thing@3.0"
    assert list(parse_metadata("Version: 1\n")) == []


@pytest.mark.parametrize("page", [512, 4096, 65536])
def test_rpms_headers_are_read_whatever_the_pages_are(tmp_path: Path, page: int) -> None:
    blobs = [
        header(name=f"package{number}", version="1.0", release="2.fc40", arch="x86_64", license="x" * number * 40)
        for number in range(200)
    ]
    blobs += [header(name="old", version="3", epoch=7), header(name="gpg-pubkey", version="1")]
    found = list(parse_rpm(rpm_database(tmp_path / "db", blobs, page)))
    assert [package.name for package in found] == [*(f"package{number}" for number in range(200)), "old"]
    assert found[5].version == "1.0-2.fc40"
    assert found[-1].version == "7:3"
    assert purl(found[0], "fedora", "40") == "pkg:rpm/fedora/package0@1.0-2.fc40?arch=x86_64&distro=fedora-40"


def test_a_damaged_database_is_refused_and_never_loops(tmp_path: Path) -> None:
    whole = rpm_database(tmp_path / "db", [header(name=f"p{number}", version="1") for number in range(500)], 512)
    for data in (b"", b"SQLite format 3\0", whole[:700], whole[:100] + b"\x05" + whole[101:]):
        with pytest.raises(NoDatabase):
            list(parse_rpm(data))


def test_records_that_lie_upon_each_other_are_refused(tmp_path: Path) -> None:
    """Else a page is its one record of 50 KiB thousands of times: there is no end to 256 MiB of such."""
    content = bytearray(rpm_database(tmp_path / "db", [header(license="x" * 50000)], 65536))
    root = content.index(b"x" * 1000) // 65536 * 65536
    (cell,) = struct.unpack_from(">H", content, root + 8)
    struct.pack_into(">H", content, root + 3, 1000)
    struct.pack_into(">1000H", content, root + 8, *[cell] * 1000)
    with pytest.raises(NoDatabase, match="upon each other"):
        list(parse_rpm(bytes(content)))


def test_a_database_is_given_up_when_nobody_waits(tmp_path: Path) -> None:
    whole = rpm_database(tmp_path / "db", [header(name=f"p{number}", version="1") for number in range(500)], 512)
    left = iter(range(5))

    def check() -> None:
        if next(left, None) is None:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(parse_rpm(whole, check))


@given(data=st.data())
def test_any_bytes_are_packages_or_no_database(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "hypothesis-db"
    if not path.exists():
        rpm_database(path, [header(name=f"p{number}", version="1" * number) for number in range(60)], 512)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NoDatabase):
        list(parse_rpm(bytes(content)))


@given(st.text())
def test_any_text_is_packages_or_none(text: str) -> None:
    for parse in (parse_dpkg, parse_apk, parse_metadata):
        assert all(found.name and found.version for found in parse(text))
    os_release(text)


def test_all_databases_of_a_file_system_are_found(tmp_path: Path) -> None:
    tree = tree_of(
        {
            "etc/os-release": "../usr/lib/os-release",
            "usr/lib/os-release": OS_RELEASE.encode(),
            "var/lib/dpkg/status": STATUS.encode(),
            "var/lib/dpkg/status.d/tzdata": b"Package: tzdata\nVersion: 2024a\n",
            "var/lib/dpkg/status.d/tzdata.md5sums": b"Package: no\nVersion: 0\n",
            "lib": "usr/lib",
            "usr/lib/apk/db/installed": INSTALLED.encode(),
            "usr/lib/python3.11/site-packages/flask.dist-info/METADATA": METADATA.encode(),
            "usr/lib/python3/dist-packages/six.egg-info/PKG-INFO": b"Name: six\nVersion: 1.16\n",
            "usr/lib/python3/dist-packages/flat.egg-info": b"Name: flat\nVersion: 1\n",
            "usr/lib/sysimage/rpm/rpmdb.sqlite": rpm_database(tmp_path / "db", [header(name="bash", version="5")]),
            "var/lib/rpm": "../../usr/lib/sysimage/rpm",
        }
    )
    found = scan(tree)
    assert {package.name for package in found.packages} == {"libc6", "tzdata", "musl", "Flask_Thing", "six", "bash"}
    assert (found.distribution, found.release, found.unread) == ("debian", "12", ())
    assert len(found.packages) == 6


def test_links_that_lead_out_or_around_and_other_databases_do_no_harm() -> None:
    tree = tree_of(
        {
            "var/lib/dpkg/status": "../../../../../../etc/shadow",
            "lib/apk/db/installed": "installed",
            "usr/lib/python3.9": "python3.9",
            "var/lib/rpm/Packages": b"\0" * 100,
            "usr/lib/sysimage/rpm/rpmdb.sqlite": b"nothing",
        }
    )
    found = scan(tree)
    assert found.packages == ()
    assert found.unread == ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages")


def test_the_document_is_the_same_for_the_same_packages() -> None:
    packages = (Package(kind="deb", name="libc++6", version="1:2", supplier="X", found_in="/var/lib/dpkg/status"),)
    found = Found(packages=packages, distribution="debian", release="12", unread=("/x",))

    def document(**fields: str) -> Any:
        said = {"name": "image", "digest": "sha256:1", "created": "2023-11-14T22:13:20Z", "version": "1", **fields}
        return sbom(found, **said).document

    one = document()
    assert json.dumps(one) == json.dumps(document())
    assert document(digest="sha256:2")["documentNamespace"] != one["documentNamespace"]
    identifiers = [package["SPDXID"] for package in one["packages"]]
    assert identifiers == ["SPDXRef-DocumentRoot-Image", "SPDXRef-Package-deb-libc--6-0"]
    assert [relation["relatedSpdxElement"] for relation in one["relationships"]] == identifiers
    assert one["comment"] == "Not read: /x"
    assert one["packages"][1]["externalRefs"][0]["referenceLocator"] == "pkg:deb/debian/libc++6@1:2?distro=debian-12"
