"""Where caches are, in clients' words."""

from __future__ import annotations

import pytest

from corten.build.caching.options import (
    CacheExport,
    CacheImport,
    parse_export,
    parse_exports,
    parse_import,
    parse_imports,
)
from corten.errors import CortenError, InvalidArgument
from corten.errors import NotImplemented as NotOffered
from corten.spec import reference as references

APP = references.parse("example.com/app:c")


def test_a_name_alone_is_a_registrys() -> None:
    assert parse_imports(["example.com/app:c", ""]) == (CacheImport(kind="registry", reference=APP),)
    assert parse_imports([{"Type": "registry", "Attrs": {"ref": "example.com/app:c"}}])[0].reference == APP
    assert parse_import("registry", {"ref": "app"}).reference == references.parse("app:latest")


def test_exports_have_their_modes() -> None:
    ref = {"ref": "example.com/app:c"}
    assert parse_export("registry", ref) == CacheExport(kind="registry", reference=APP)
    full = parse_export(
        "registry", {**ref, "mode": "max", "mounts": "true", "ignore-error": "1", "image-manifest": "1"}
    )
    assert (full.everything, full.mounts, full.ignore_error) == (True, True, True)
    local = parse_export("local", {"dest": "/d", "tag": "t"})
    assert (local.path, local.tag, local.reference) == ("/d", "t", None)


def test_inline_comes_by_either_way_once() -> None:
    inline = CacheExport(kind="inline")
    assert parse_exports([], {"BUILDKIT_INLINE_CACHE": "1"}) == (inline,)
    assert parse_exports([{"Type": "inline"}], {"BUILDKIT_INLINE_CACHE": "1"}) == (inline,)
    assert parse_exports([], {"BUILDKIT_INLINE_CACHE": "0"}) == ()
    assert parse_exports([], {"BUILDKIT_INLINE_CACHE": None}) == ()


@pytest.mark.parametrize(
    ("kind", "attributes", "error"),
    [
        ("gha", {}, NotOffered),
        ("registry", {}, InvalidArgument),
        ("registry", {"ref": "UPPER"}, CortenError),
        ("registry", {"ref": f"a@sha256:{0:064x}"}, InvalidArgument),
        ("registry", {"ref": "a", "mode": "all"}, InvalidArgument),
        ("registry", {"ref": "a", "mounts": "maybe"}, InvalidArgument),
        ("registry", {"ref": "a", "compression": "zstd"}, NotOffered),
        ("registry", {"ref": "a" * 5000}, InvalidArgument),
        ("local", {}, InvalidArgument),
        ("local", {"dest": "/a\0b"}, InvalidArgument),
    ],
)
def test_what_cannot_be_done_is_refused(kind: str, attributes: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_export(kind, attributes)


@pytest.mark.parametrize("entry", [1, [], {}, {"Type": 1}, {"Type": "registry", "Attrs": {"ref": 1}}, {"Attrs": {}}])
def test_what_is_no_cache_is_refused(entry: object) -> None:
    with pytest.raises(InvalidArgument):
        parse_imports([entry or {"x": 1}])
    with pytest.raises(InvalidArgument):
        parse_imports(["a"] * 65)
