"""A repository on a server: its refs, and the pack of one commit. Blocking; net threads.

Protocol version 2 where the server has it, else the first one. Sources: gitprotocol-v2(5), gitprotocol-pack(5),
gitprotocol-capabilities(5). One commit without its history is asked for, and the whole only from a server that does
not give that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from corten import __version__
from corten.build.git.error import GitError, NotOurRef
from corten.build.git.exchange import Exchange
from corten.build.git.packets import DELIMITER, FLUSH, Marker, PacketReader, line, remote_error, text_of
from corten.build.git.refs import Refs
from corten.build.git.url import is_commit, is_ref

ID_BYTES = {"sha1": 20, "sha256": 32}
_AGENT = f"corten/{__version__}"
_REFS_LIMIT = 200_000
_NOT_OUR_REF = ("not our ref", "unadvertised object", "not advertised", "shallow")


@dataclass(slots=True, kw_only=True)
class Remote:
    """What the server said of itself. `hash_name` is how it names objects."""

    exchange: Exchange
    version: int = 0
    capabilities: dict[str, str] = field(default_factory=dict)
    advertised: Refs = field(default_factory=Refs)

    @property
    def hash_name(self) -> str:
        """sha1 or sha256. Raises GitError for another one."""
        name = self.capabilities.get("object-format", "sha1")
        if name not in ID_BYTES:
            raise GitError(f"the repository names its objects by {name[:32]!r}, which is not supported")
        return name

    def refs(self, wanted: Sequence[str]) -> Refs:
        """The refs that have one of these names, or of all that begin so. Raises GitError."""
        if self.version < 2:
            return self.advertised
        request = [line("command=ls-refs"), *self._common(), DELIMITER, line("peel"), line("symrefs")]
        request += [line(f"ref-prefix {name}") for name in (*wanted, "HEAD")]
        return _refs(self._v2_refs(self.exchange.ask(b"".join((*request, FLUSH)))))

    def _common(self) -> list[bytes]:
        found = [line(f"agent={_AGENT}")] if "agent" in self.capabilities else []
        return [*found, *([line(f"object-format={self.hash_name}")] if "object-format" in self.capabilities else [])]

    def _v2_refs(self, reader: PacketReader) -> Iterator[tuple[str, str, str, str]]:
        for text in reader.lines():
            object_id, _, rest = text.partition(" ")
            name, *attributes = rest.split(" ")
            known = dict(attribute.partition(":")[::2] for attribute in attributes)
            if object_id != "unborn":
                yield object_id, name, known.get("peeled", ""), known.get("symref-target", "")

    # -- the pack

    def fetch(self, object_ids: Sequence[str], write: Callable[[bytes], object], *, shallow: bool) -> None:
        """Write the pack of these objects with all that they need; `shallow` leaves their history out.

        Raises NotOurRef when the server does not give that, GitError, and what the exchange and `write` raise.
        """
        reader = self._ask_v2(object_ids, shallow) if self.version == 2 else self._ask_v1(object_ids, shallow)
        while (packet := reader.read()) is not None:
            if isinstance(packet, Marker):
                return
            if packet[:1] == b"\1":
                write(packet[1:])
            elif packet[:1] == b"\3":
                raise _refused(text_of(packet[1:]))
            elif packet[:1] != b"\2":
                raise GitError("the server does not speak git's protocol")
        raise GitError("the server broke off")

    def _ask_v2(self, object_ids: Sequence[str], shallow: bool) -> PacketReader:
        if shallow and "shallow" not in self.capabilities.get("fetch", "").split():
            raise NotOurRef("the server does not leave history out")
        request = [line("command=fetch"), *self._common(), DELIMITER, line("no-progress"), line("ofs-delta")]
        request += [line("deepen 1")] if shallow else []
        request += [line(f"want {object_id}") for object_id in object_ids]
        reader = self.exchange.ask(b"".join((*request, line("done"), FLUSH)))
        while isinstance(found := reader.read(), bytes):
            section = text_of(found)
            if section == "packfile":
                return reader
            if section.startswith("ERR "):
                raise _refused(section[4:])
            _skip(reader)
        raise GitError("the server sends no pack")

    def _ask_v1(self, object_ids: Sequence[str], shallow: bool) -> PacketReader:
        if "side-band-64k" not in self.capabilities:
            raise GitError("the server is too old: it does not know side-band-64k")
        if shallow and "shallow" not in self.capabilities:
            raise NotOurRef("the server does not leave history out")
        known = {*self.advertised.ids.values(), *self.advertised.peeled.values()}
        may_ask = {"allow-reachable-sha1-in-want", "allow-any-sha1-in-want"} & self.capabilities.keys()
        if not may_ask and not known.issuperset(object_ids):
            raise NotOurRef("the server gives no commits but those that refs name")
        words = ["side-band-64k", "ofs-delta", "no-progress", *(["shallow"] if shallow else []), f"agent={_AGENT}"]
        words = [word for word in words if word.partition("=")[0] in self.capabilities]
        request = [line(f"want {' '.join([object_ids[0], *words])}")]
        request += [line(f"want {object_id}") for object_id in object_ids[1:]]
        request += [line("deepen 1")] if shallow else []
        reader = self.exchange.ask(b"".join((*request, FLUSH, line("done"))))
        if shallow:
            _skip(reader)
        answer = reader.read()
        if not isinstance(answer, bytes) or text_of(answer) != "NAK":
            raise _refused(text_of(answer)) if isinstance(answer, bytes) else GitError("the server sends no pack")
        return reader


def connect(exchange: Exchange) -> Remote:
    """Hear what the server says of itself. Raises GitError, and what the exchange raises."""
    reader = exchange.greeting()
    first = next(reader.lines(), "")
    if first == "version 2":
        capabilities = dict(text.partition("=")[::2] for text in reader.lines())
        return Remote(exchange=exchange, version=2, capabilities=capabilities)
    remote = Remote(exchange=exchange)
    lines = reader.lines()
    if first == "version 1":
        first = next(lines, "")
    head, _, words = first.partition("\0")
    symrefs: dict[str, str] = {}
    for word in words.split():
        key, _, value = word.partition("=")
        if key == "symref":
            name, _, target = value.partition(":")
            symrefs[name] = target
        else:
            remote.capabilities[key] = value
    remote.advertised = _refs(_v1_refs([head, *lines] if head else [], symrefs))
    return remote


def _v1_refs(lines: Iterable[str], symrefs: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for text in lines:
        object_id, _, name = text.partition(" ")
        if name.endswith("^{}"):
            yield "", name.removesuffix("^{}"), object_id, ""
        elif object_id not in ("shallow", "") and name != "capabilities":
            yield object_id, name, "", symrefs.get(name, "")


def _refs(rows: Iterable[tuple[str, str, str, str]]) -> Refs:
    """Rows of id (empty: known already), name, the id behind a tag, what a symbolic ref stands for."""
    ids: dict[str, str] = {}
    peeled: dict[str, str] = {}
    head = ""
    for number, (object_id, name, behind, target) in enumerate(rows):
        if number >= _REFS_LIMIT:
            raise GitError(f"the repository has more than {_REFS_LIMIT} refs")
        for found in filter(None, (object_id, behind)):
            if not is_commit(found):
                raise GitError("the server does not speak git's protocol")
        if object_id:
            ids[name] = object_id
        if behind:
            peeled[name] = behind
        if name == "HEAD" and is_ref(target):  # the server's word, which a .git directory is told
            head = target
    return Refs(ids=ids, peeled=peeled, head=head)


def _skip(reader: PacketReader) -> None:
    """Read to the end of a section."""
    while isinstance(found := reader.read(), bytes):
        text = text_of(found)
        if text.startswith("ERR "):
            raise _refused(text[4:])


def _refused(text: str) -> GitError:
    error = remote_error(text.removeprefix("ERR "))
    return NotOurRef(error.message) if any(words in text for words in _NOT_OUR_REF) else error
