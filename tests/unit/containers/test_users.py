import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corten.engine.containers.users import Accounts, Identity, parse_accounts, read_accounts, resolve_user
from corten.errors import InvalidArgument

ACCOUNTS = parse_accounts(
    b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/var/www:/bin/sh\n1000:x:5:6::/:\n# no\nbroken:x:y:z\nbad\n",
    b"root:x:0:\nwheel:x:10:root,other\nweb:x:34:\nextra:x:50:www\n",
)


@pytest.mark.parametrize(
    ("spec", "add", "expected"),
    [
        ("", (), Identity(0, 0, (0, 10))),
        ("0", (), Identity(0, 0, (0, 10))),
        ("root", (), Identity(0, 0, (0, 10))),
        ("www", (), Identity(33, 34, (34, 50))),
        ("33", (), Identity(33, 34, (34, 50))),
        ("www:wheel", (), Identity(33, 10, (10,))),
        ("www:7", (), Identity(33, 7, (7,))),
        ("4000", (), Identity(4000, 0, (0,))),
        ("4000:4000", (), Identity(4000, 4000, (4000,))),
        ("4000", ("web", "77"), Identity(4000, 0, (0, 34, 77))),
        ("1000", (), Identity(1000, 0, (0,))),  # a number is never looked up as a name
    ],
)
def test_ids(spec, add, expected):
    assert resolve_user(spec, add, ACCOUNTS) == expected


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("www:none", "unable to find group none: no matching entries in group file"),
        ("4294967296", "must be in range 0-2147483647"),
        ("-1", "must be in range 0-2147483647"),
        ("0:2147483648", "must be in range 0-2147483647"),
    ],
)
def test_what_is_refused(spec, message):
    with pytest.raises(InvalidArgument, match=message):
        resolve_user(spec, (), ACCOUNTS)


@given(st.binary(max_size=300), st.binary(max_size=300), st.text(max_size=20))
def test_files_of_an_image_cannot_break_the_lookup(passwd, group, spec):
    accounts = parse_accounts(passwd, group)
    try:
        found = resolve_user(spec, (), accounts)
    except InvalidArgument:
        return
    assert 0 <= found.uid < 2**31
    assert 0 <= found.gid < 2**31
    assert found.gid in found.groups


def test_links_out_of_the_root_and_odd_files_are_not_followed(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("evil:x:1:1::/:\n")
    (root / "etc/passwd").symlink_to(tmp_path / "secret")
    os.mkfifo(root / "etc/group")
    fd = os.open(root, os.O_RDONLY)
    try:
        assert read_accounts(fd) == Accounts()
        (root / "etc/passwd").unlink()
        (root / "real").write_text("me:x:1:1::/:\n")
        (root / "etc/passwd").symlink_to("/real")
        assert [user.name for user in read_accounts(fd).users] == ["me"]
    finally:
        os.close(fd)
