"""The build cache as BuildKit's clients see and prune it. Pure; daemon. Source: BuildKit's control API, containerd's
filters (`field==value`, `field~=expression`, with commas for and)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from corten.build.buildkit.messages.control import PruneRequest, UsageRecord
from corten.build.buildkit.messages.types import Timestamp, timestamp
from corten.build.cache_pruning import FILTERS, Wish
from corten.errors import InvalidArgument
from corten.spec.docker.build import BuildCache

_OPERATORS = ("==", "~=", "!=", "=")


def usage(rows: Iterable[BuildCache]) -> list[UsageRecord]:
    """The records."""
    return [
        UsageRecord(
            id=row.id,
            mutable=False,
            in_use=row.in_use,
            size=row.size,
            created_at=_moment(row.created_at),
            last_used_at=_moment(row.last_used_at),
            usage_count=row.usage_count,
            description=row.description,
            record_type=row.type,
            shared=row.shared,
        )
        for row in rows
    ]


def selected(records: Sequence[UsageRecord], filters: Sequence[str]) -> list[UsageRecord]:
    """Those that a filter of several takes. Raises InvalidArgument."""
    wanted = [parse_filter(text) for text in filters if text]
    if not wanted:
        return list(records)
    return [record for record in records if any(_fits(record, one) for one in wanted)]


def wish(request: PruneRequest, now_ns: int) -> Wish:
    """What is to go. Raises InvalidArgument."""
    filters: dict[str, list[str]] = {}
    for text in request.filter:
        for name, value in parse_filter(text).items() if text else ():
            filters.setdefault(name, []).append(value)
    return Wish(
        everything=request.all,
        keep_bytes=max(request.reserved_space, request.max_used_space, 0),
        before_ns=now_ns - request.keep_duration if request.keep_duration > 0 else None,
        filters=filters,
    )


def parse_filter(text: str) -> dict[str, str]:
    """One filter: what its fields have to be. Raises InvalidArgument for one that is not known here."""
    found: dict[str, str] = {}
    for part in text.split(","):
        operator = next((one for one in _OPERATORS if one in part), "")
        name, _, value = part.partition(operator) if operator else (part, "", "true")
        if operator == "!=" or name not in FILTERS:
            raise InvalidArgument(f"the filter {part[:64]!r} is not supported")
        value = value.strip('"')
        found[name] = value.removeprefix("^") if operator == "~=" else value
    return found


def _fits(record: UsageRecord, wanted: dict[str, str]) -> bool:
    facts = {
        "id": record.id,
        "description": record.description,
        "type": record.record_type,
        "inuse": str(record.in_use).lower(),
        "shared": str(record.shared).lower(),
        "private": str(not record.shared).lower(),
    }
    return all(
        facts.get(name, "").startswith(value) if name == "id" else facts.get(name, "") == value
        for name, value in wanted.items()
    )


def _moment(text: str | None) -> Timestamp | None:
    if not text:
        return None
    try:
        return timestamp(datetime.fromisoformat(text))
    except ValueError:
        return None
