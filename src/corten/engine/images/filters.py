"""Which images a list or a prune is about: Docker's image filters as pure functions over the catalog. Daemon."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from corten.engine.images.catalog import ImageEntry
from corten.errors import InvalidArgument
from corten.lib.duration import duration_ns
from corten.spec.reference import Reference

LIST_FILTERS = frozenset({"dangling", "label", "label!", "before", "since", "reference", "until"})
PRUNE_FILTERS = frozenset({"dangling", "label", "label!", "until"})
_TRUE = {"1", "true"}
_FALSE = {"0", "false"}
_EPOCH = datetime.fromtimestamp(0, UTC)
_UNIX = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?\Z")


def flag_filter(filters: Mapping[str, Sequence[str]], name: str) -> bool | None:
    """The truth that a boolean filter asks for; None when it is not given. Raises InvalidArgument.

    As in Docker, other words beside a true or a false one are passed over: its client adds `dangling=true` to a prune.
    """
    if name not in filters:
        return None
    values = filters[name]
    found = {value in _TRUE for value in values if value in _TRUE | _FALSE}
    if len(found) != 1:
        raise InvalidArgument(f"invalid filter '{name}=[{' '.join(values)}]'")
    return found.pop()


def has_labels(labels: Mapping[str, str] | None, wanted: Iterable[str]) -> bool:
    """Whether all of `key` or `key=value` in `wanted` are among the labels."""
    labels = labels or {}
    for text in wanted:
        key, equals, value = text.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


def created_us(created: str | None) -> int:
    """An RFC 3339 time as Unix microseconds; 0 when there is none or it cannot be read."""
    if not created:
        return 0
    try:
        moment = datetime.fromisoformat(created)
        return max((moment - _EPOCH) // timedelta(microseconds=1), 0) if moment.tzinfo else 0
    except (ValueError, OverflowError):
        return 0


def created_s(created: str | None) -> int:
    """As `created_us`, in whole seconds."""
    return created_us(created) // 1_000_000


def point_in_time(text: str, now_s: float | None = None) -> float:
    """An `until`: a duration before now, a Unix time or an RFC 3339 time. Raises InvalidArgument."""
    match = _UNIX.match(text)
    if match is not None:
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        duration = duration_ns(text)
    except ValueError:
        raise InvalidArgument(f"failed to parse value as time or duration: {json.dumps(text[:128])}") from None
    return (time.time() if now_s is None else now_s) - duration / 1e9


def until_s(filters: Mapping[str, Sequence[str]], *, only_one: bool = False) -> float | None:
    """The earliest time that `until` names; None without one. Raises InvalidArgument, with `only_one` also for two."""
    values = filters.get("until", ())
    if only_one and len(values) > 1:
        raise InvalidArgument("more than one until filter specified")
    return min((point_in_time(text) for text in values), default=None)


def familiar_match(pattern: str, name: Reference) -> bool:
    """Whether `pattern` fits the name as people write it, with or without its tag (distribution/reference)."""
    bare = Reference(name.domain, name.path)
    return path_match(pattern, name.familiar) or path_match(pattern, bare.familiar)


def path_match(pattern: str, text: str) -> bool:
    """Go's path.Match: `*` and `?` do not cross slashes; [] are character classes. Never backtracks badly.

    Raises InvalidArgument for a pattern that cannot be read.
    """
    wanted, given = [_tokens(part) for part in pattern.split("/")], text.split("/")
    return len(wanted) == len(given) and all(map(_segment_match, wanted, given))


def _segment_match(tokens: list[re.Pattern[str] | None], text: str) -> bool:
    position = token = 0
    star = -1
    resume = 0
    while position < len(text):
        if token < len(tokens) and tokens[token] is None:
            star, resume = token, position
            token += 1
        elif token < len(tokens) and (atom := tokens[token]) is not None and atom.fullmatch(text[position]):
            position += 1
            token += 1
        elif star >= 0:
            resume += 1
            position, token = resume, star + 1
        else:
            return False
    return all(atom is None for atom in tokens[token:])


def _tokens(pattern: str) -> list[re.Pattern[str] | None]:
    """One entry a character; None is `*`. Raises InvalidArgument for a pattern that cannot be read."""
    tokens: list[re.Pattern[str] | None] = []
    parts = re.findall(r"\*+|\?|\[\^?(?:\\.|[^\]\\])+\]|\\.|[^\[\\]", pattern[:512])
    if "".join(parts) != pattern[:512]:
        raise InvalidArgument("syntax error in pattern")
    for part in parts:
        if part.startswith("*"):
            tokens.append(None)
        elif part == "?":
            tokens.append(re.compile("."))
        elif part.startswith("["):
            try:
                tokens.append(re.compile(part.replace("[[", "[\\[")))
            except re.error as error:
                raise InvalidArgument("syntax error in pattern") from error
        else:
            tokens.append(re.compile(re.escape(part[-1])))
    return tokens


def is_selected(
    entry: ImageEntry, filters: Mapping[str, Sequence[str]], *, until: float | None, before: int = 0, since: int = 0
) -> bool:
    """Whether the image's time and labels fit; `before` and `since` are the reference images' times in µs, or 0."""
    created = created_us(entry.config.created)
    if before and created >= before:
        return False
    if since and created <= since:
        return False
    if until is not None and created > until * 1_000_000:
        return False
    if not has_labels(entry.config.defaults.labels, filters.get("label", ())):
        return False
    unwanted = filters.get("label!", ())
    return not unwanted or not has_labels(entry.config.defaults.labels, unwanted)
