from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corten.runtime.inroot import ensure_in_root, open_in_root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A root directory with a sibling that nothing may reach."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    fd = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    yield fd, tmp_path / "root"
    os.close(fd)
    assert list((tmp_path / "outside").iterdir()) == []


def path_of(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def test_missing_directories_are_made(root: tuple[int, Path]) -> None:
    fd, path = root
    assert path_of(ensure_in_root(fd, "/a/b/c", directory=True)) == str(path / "a/b/c")
    assert stat.S_IMODE((path / "a/b").stat().st_mode) == 0o755 & ~_umask()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_a_missing_file_is_made_empty_in_made_directories(root: tuple[int, Path]) -> None:
    fd, path = root
    assert path_of(ensure_in_root(fd, "/etc/hosts", directory=False)) == str(path / "etc/hosts")
    assert (path / "etc/hosts").read_bytes() == b""
    assert (path / "etc").is_dir()


def test_what_exists_is_taken_as_it_is(root: tuple[int, Path]) -> None:
    fd, path = root
    (path / "file").write_text("kept")
    os.close(ensure_in_root(fd, "/file", directory=False))
    assert (path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    "target", ["/", "..", "../../..", "/..", "../outside", "/../outside", "{outside}", "a/../../.."]
)
def test_links_that_lead_out_end_inside(root: tuple[int, Path], target: str) -> None:
    fd, path = root
    (path / "link").symlink_to(target.format(outside=path.parent / "outside"))
    result = path_of(ensure_in_root(fd, "/link/new", directory=True))
    assert Path(result).is_relative_to(path)
    assert Path(result).name == "new"


def test_a_dangling_link_makes_its_target_inside(root: tuple[int, Path]) -> None:
    fd, path = root
    (path / "etc").mkdir()
    (path / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    os.close(ensure_in_root(fd, "/etc/resolv.conf", directory=False))
    assert (path / "run/systemd/resolve/stub-resolv.conf").read_bytes() == b""
    assert (path / "etc/resolv.conf").is_symlink()


def test_loops_and_endless_paths_are_errors(root: tuple[int, Path]) -> None:
    fd, path = root
    (path / "a").symlink_to("b/x")
    (path / "b").symlink_to("a/x")
    with pytest.raises(OSError, match="too many levels"):
        ensure_in_root(fd, "/a/new", directory=True)
    with pytest.raises(OSError, match="name too long"):
        ensure_in_root(fd, "/n" * 600 + "/../" * 2, directory=True)


def test_no_link_is_followed_when_none_may_be(root: tuple[int, Path]) -> None:
    fd, path = root
    (path / "real").mkdir()
    (path / "proc").symlink_to("real")
    with pytest.raises(OSError, match="too many levels"):
        open_in_root(fd, "/proc", symlinks=False)
    with pytest.raises(OSError, match="too many levels"):
        ensure_in_root(fd, "/proc/new", directory=True, symlinks=False)


def test_a_file_in_the_way_is_an_error(root: tuple[int, Path]) -> None:
    fd, path = root
    (path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        ensure_in_root(fd, "/file/below", directory=True)


def test_the_root_itself(root: tuple[int, Path]) -> None:
    fd, path = root
    for text in ("/", "", ".", "/..", "/../.."):
        assert path_of(ensure_in_root(fd, text, directory=True)) == str(path)


NAMES = st.sampled_from(["a", "b", "l", "..", ".", "m"])
PATHS = st.lists(NAMES, min_size=1, max_size=6).map("/".join)


@given(
    links=st.dictionaries(st.sampled_from(["l", "m", "a/l"]), st.tuples(st.sampled_from(["", "/"]), PATHS)), path=PATHS
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_whatever_the_links_nothing_outside_is_reached(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, tuple[str, str]], path: str
) -> None:
    base = tmp_path_factory.mktemp("case")
    (base / "root/a").mkdir(parents=True)
    for name, (slash, target) in links.items():
        (base / "root" / name).symlink_to(slash + target)
    fd = os.open(base / "root", os.O_PATH | os.O_DIRECTORY)
    try:
        result = path_of(ensure_in_root(fd, path, directory=True))
        assert Path(result).is_relative_to(base / "root")
    except OSError:
        pass
    finally:
        os.close(fd)
    assert [entry.name for entry in base.iterdir()] == ["root"]
