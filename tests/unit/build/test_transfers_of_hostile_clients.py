"""fsutil's messages and lists, as a client that lies sends them: told and ended, never obeyed."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.build.session_peer import Ours, Pipe

from corten.build.session.listing import (
    DEVICE,
    DIRECTORY,
    SETUID,
    SOCKET,
    STICKY,
    SYMLINK,
    Order,
    entry_of,
)
from corten.build.session.pack import Pack
from corten.build.session.packet import (
    DATA,
    ERR,
    FIN,
    REQ,
    STAT,
    BadPacket,
    Packet,
    Stat,
    decode_packet,
    decode_stat,
    encode_packet,
    encode_stat,
)
from corten.build.session.receiver import Receiver
from corten.errors import InvalidArgument

_u32 = st.integers(0, 2**32 - 1)
_i64 = st.integers(-(2**63), 2**63 - 1)
_bytes = st.binary(max_size=40)
_stats = st.builds(
    Stat, path=_bytes, mode=_u32, uid=_u32, gid=_u32, size=_i64, mtime_ns=_i64, linkname=_bytes, major=_i64,
    minor=_i64, xattrs=st.dictionaries(_bytes, _bytes, max_size=3).map(lambda found: tuple(sorted(found.items()))),
)  # fmt: skip


@given(_stats, st.integers(0, 4), _u32, st.binary(max_size=200))
def test_what_is_written_is_read(stat: Stat, kind: int, number: int, data: bytes) -> None:
    raw = encode_stat(stat)
    assert decode_stat(raw) == stat
    packet = Packet(kind, raw, number, data)
    assert decode_packet(encode_packet(packet)) == packet


@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_told_to_be_none(data: bytes) -> None:
    for decode in (decode_packet, decode_stat):
        with contextlib.suppress(BadPacket):
            decode(data)


def test_fields_of_newer_clients_are_passed_over() -> None:
    unknown = b"\x78\x05" + b"\x82\x01\x03abc" + b"\x81\x01" + b"8" * 8
    assert decode_packet(unknown + b"\x08\x02" + unknown) == Packet(DATA)
    assert decode_stat(b"\x0a\x01a" + unknown).path == b"a"


@given(_stats)
def test_an_entry_is_clean_or_refused(stat: Stat) -> None:
    try:
        entry = entry_of(stat, b"")
    except BadPacket:
        return
    names = entry.path.split(b"/")
    assert not {b"", b".", b".."} & set(names)
    assert b"\0" not in entry.path + entry.link
    assert 0 <= entry.mode <= 0o7777
    assert entry.size >= 0


@pytest.mark.parametrize(
    "path", [b"", b"/etc", b"../x", b"a/../b", b"a//b", b"./a", b"a/", b"a/.", b"..", b"a\0b", b"n" * 256, b"d/" * 2100]
)
def test_paths_that_lead_elsewhere_are_refused(path: bytes) -> None:
    with pytest.raises(BadPacket):
        entry_of(Stat(path, 0o644), b"")


@pytest.mark.parametrize(
    "stat",
    [
        Stat(b"a", DIRECTORY | SYMLINK, linkname=b"x"),
        Stat(b"a", SYMLINK | 0o777),
        Stat(b"a", SYMLINK | 0o777, linkname=b"x" * 5000),
        Stat(b"a", SYMLINK | 0o777, linkname=b"x\0y"),
        Stat(b"a", 0o644, size=-1),
        Stat(b"a", DEVICE | 0o644, major=-1),
        Stat(b"a", DEVICE | 0o644, minor=1 << 21),
        Stat(b"a", 0o644, xattrs=((b"user.x", b"x" * (65 << 10)),)),
    ],
)
def test_impossible_files_are_refused(stat: Stat) -> None:
    with pytest.raises(BadPacket):
        entry_of(stat, b"")


def test_modes_are_gos_and_attributes_that_the_kernel_obeys_are_dropped() -> None:
    attributes = ((b"security.capability", b"1"), (b"security.selinux", b"2"), (b"trusted.overlay.opaque", b"y"),
                  (b"user.overlay.opaque", b"y"), (b"user.x", b"3"))  # fmt: skip
    entry = entry_of(Stat(b"a", SETUID | STICKY | 0o751, xattrs=attributes), b"")
    assert entry.mode == 0o5751
    assert entry.xattrs == {b"security.capability": b"1", b"user.x": b"3"}
    assert entry_of(Stat(b"a", SOCKET | 0o755), b"").kind == ""


def order(*stats: Stat) -> None:
    check = Order()
    for stat in stats:
        check.check(entry_of(stat, b""))


@pytest.mark.parametrize(
    "names",
    [
        ["b", "a"], ["a", "a"], ["d/", "e", "d/x"], ["d/", "d/b", "d/a"], ["a/b"], ["f", "f/x"], ["d!", "d/"],
        ["d/", "d/e/x"],
    ],
)  # fmt: skip
def test_lists_out_of_order_are_refused(names: list[str]) -> None:
    with pytest.raises(BadPacket):
        order(*(Stat(n.strip("/").encode(), DIRECTORY if n.endswith("/") else 0o644) for n in names))


def test_a_slash_sorts_before_every_other_byte() -> None:
    order(Stat(b"d", DIRECTORY), Stat(b"d/x", 0o644), Stat(b"d!", 0o644), Stat(b"d.txt", 0o644), Stat(b"\xff", 0o644))


@pytest.mark.parametrize("target", [b"later", b"d", b"l", b"../x", b"/etc/passwd"])
def test_hard_links_lead_to_earlier_files_only(target: bytes) -> None:
    with pytest.raises(BadPacket, match="hard link"):
        order(
            Stat(b"d", DIRECTORY), Stat(b"file", 0o644), Stat(b"hard", 0o644, linkname=b"file"),
            Stat(b"l", SYMLINK, linkname=b"file"), Stat(b"l2", 0o644, linkname=target), Stat(b"later", 0o644),
        )  # fmt: skip


def received(tmp_path: Path, messages: list[Packet | bytes | None], *, known=(), told=lambda _count: None):
    """What comes of these messages of a client; and what was said to it."""

    async def work():
        out, into = Pipe(), Pipe()

        async def feed() -> None:
            for message in messages:
                await into.put(encode_packet(message) if isinstance(message, Packet) else message)
            await into.put(None)

        feeding = asyncio.ensure_future(feed())
        pack = Pack.new(tmp_path)
        said = []

        class Told(Ours):
            async def send_bytes(self, message: bytes) -> None:
                said.append(decode_packet(message))

            async def end(self) -> None:
                pass

        try:
            receiver = Receiver(Told(out, into), pack, known={entry.raw: entry for entry in known}, told=told)
            entries = await asyncio.wait_for(receiver.receive(), 30)
            return [(entry, b"".join(pack.read(entry.place.offset, entry.place.length)) if entry.place else b"")
                    for entry in entries], said  # fmt: skip
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])
            pack.close()

    return asyncio.run(work())


def stat_of(path: bytes, size: int = 0, mode: int = 0o644, **more: object) -> Packet:
    return Packet(STAT, encode_stat(Stat(path, mode, size=size, **more)))


END = Packet(STAT)


def test_a_file_that_grew_or_shrank_is_as_long_as_what_came_of_what_was_told(tmp_path: Path) -> None:
    found, said = received(tmp_path, [
        stat_of(b"grown", 3), stat_of(b"none", 3), stat_of(b"shrunk", 9), END,
        Packet(DATA, None, 2, b"sh"), Packet(DATA, None, 0, b"grown by far"), Packet(DATA, None, 0, b"more"),
        Packet(DATA, None, 1), Packet(DATA, None, 2), Packet(DATA, None, 0), Packet(FIN),
    ])  # fmt: skip
    assert [data for _, data in found] == [b"gro", b"", b"sh"]
    assert [bool(entry.raw) for entry, _ in found] == [True, False, False]  # what is not whole is asked for again
    assert said == [Packet(REQ, id=0), Packet(REQ, id=1), Packet(REQ, id=2), Packet(FIN)]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([stat_of(b"a", 1)], "too early"),
        ([stat_of(b"a", 1), END], "too early"),
        ([stat_of(b"a", 1), END, Packet(DATA, None, 1, b"x")], "not asked for"),
        ([Packet(DATA, None, 0, b"x")], "not asked for"),
        ([stat_of(b"a", mode=DIRECTORY), Packet(DATA, None, 0, b"x")], "not asked for"),
        ([stat_of(b"a", 1), END, stat_of(b"b", 1)], "nobody expected"),
        ([stat_of(b"a", 1), END, Packet(FIN)], "nobody expected"),
        ([stat_of(b"a", 1), END, Packet(REQ)], "nobody expected"),
        ([stat_of(b"a", 1), END, Packet(DATA, None, 0), Packet(DATA, None, 0), *[Packet(REQ)] * 2000], "does not end"),
        ([stat_of(b"a", 1 << 50), END], "more bytes than a build"),
        ([stat_of(b"../a", 1), END], "impossible name"),
        ([stat_of(b"b", 1), stat_of(b"a", 1), END], "out of order"),
        ([b"\xff\xff"], "broken"),
        ([b"\x08\0" * 2000], "too many fields"),
        ([b"\x28\0" * 2000], "too many fields"),
        ([Packet(STAT, b"\x10\0" * 2000)], "too many fields"),
        ([Packet(STAT, b"\x52\x80\x20" + b"\x18\0" * 2048)], "too many fields"),
        ([Packet(ERR, data=b"disk on fire")], "error from sender: disk on fire"),
    ],
)
def test_lies_end_the_transfer(tmp_path: Path, messages: list[Packet | bytes | None], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        received(tmp_path, messages)


def test_bytes_without_end_are_not_taken(tmp_path: Path) -> None:
    piece = b"x" * (1 << 20)
    with pytest.raises(BadPacket, match="more bytes than its files"):
        received(tmp_path, [stat_of(b"a", 1), END, *[Packet(DATA, None, 0, piece)] * 300])
    assert list(tmp_path.iterdir()) == []


def test_what_is_known_is_not_asked_for_but_must_be_in_order(tmp_path: Path) -> None:
    first, _ = received(
        tmp_path,
        [stat_of(b"a", 1), stat_of(b"b", linkname=b"a"), END, Packet(DATA, None, 0, b"x"), Packet(DATA, None, 0),
         Packet(FIN)],
    )  # fmt: skip
    known = [msgspec.structs.replace(entry, place=None) for entry, _ in first]
    again, said = received(tmp_path, [*(Packet(STAT, entry.raw) for entry in known), END, Packet(FIN)], known=known)
    assert all(entry is before for (entry, _), before in zip(again, known, strict=True))
    assert said == [Packet(FIN)]
    with pytest.raises(BadPacket, match="hard link"):
        received(tmp_path, [Packet(STAT, known[1].raw), END, Packet(FIN)], known=known)
    with pytest.raises(BadPacket, match="out of order"):
        received(tmp_path, [Packet(STAT, known[0].raw)] * 2, known=known)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.builds(
                stat_of,
                st.sampled_from([b"a", b"b", b"d", b"d/e", b"d/f", b"z"]),
                st.integers(0, 8),
                st.sampled_from([0o644, DIRECTORY, SYMLINK]),
            ),
            st.builds(lambda number, data: Packet(DATA, None, number, data), st.integers(0, 3), st.binary(max_size=5)),
            st.sampled_from([END, Packet(FIN), Packet(REQ)]),
        ),
        max_size=12,
    )
)
def test_whatever_a_client_says_the_transfer_ends(tmp_path_factory, messages) -> None:
    folder = tmp_path_factory.getbasetemp() / "packs"
    try:
        found, _ = received(folder, messages)
    except InvalidArgument:
        pass
    else:
        assert all(len(data) <= entry.size for entry, data in found)
    assert not folder.exists() or list(folder.iterdir()) == []
