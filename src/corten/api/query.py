"""Query strings as Docker reads them: lenient booleans, strict numbers, filters in both JSON forms. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from urllib.parse import parse_qs

from corten.errors import InvalidArgument
from corten.lib import codec

_FALSE = {"", "0", "no", "false", "none"}
Filters = dict[str, list[str]]


class Query:
    """The decoded query of one request."""

    def __init__(self, raw: str) -> None:
        try:
            self._values = parse_qs(raw, keep_blank_values=True, max_num_fields=1000)
        except ValueError as error:
            raise InvalidArgument(f"invalid query: {error}") from error

    @classmethod
    def of(cls, values: Mapping[str, str | Sequence[str]]) -> Query:
        """One that did not come in a URL: values are as they are."""
        query = cls("")
        query._values = {name: [value] if isinstance(value, str) else list(value) for name, value in values.items()}
        return query

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str, default: str = "") -> str:
        """The first value of `name`."""
        values = self._values.get(name)
        return values[0] if values else default

    def values(self, name: str) -> list[str]:
        """All values of `name`, in order."""
        return self._values.get(name, [])

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Docker's reading: "", 0, no, false, none are false, all else is true."""
        values = self._values.get(name)
        return default if not values else values[0].strip().lower() not in _FALSE

    def number(self, name: str, default: int | None = None) -> int | None:
        """A decimal number. Raises InvalidArgument."""
        text = self.text(name)
        if text == "":
            return default
        try:
            if len(text) > 20:
                raise ValueError
            return int(text)
        except ValueError:
            raise InvalidArgument(f'strconv.Atoi: parsing "{text[:64]}": invalid syntax') from None

    def filters(self, known: Collection[str] | None = None, *, name: str = "filters") -> Filters:
        """The `filters` parameter, from its map form and its old list form. Raises InvalidArgument."""
        return parse_filters(self.text(name), known)


def parse_filters(text: str, known: Collection[str] | None = None) -> Filters:
    """`{"label":{"a=b":true}}` or `{"label":["a=b"]}` as lists. Keys outside `known` (when given) are refused."""
    if not text:
        return {}
    try:
        raw = codec.decode(dict[str, dict[str, bool] | list[str]], text.encode())
    except InvalidArgument as error:
        raise InvalidArgument("invalid filter") from error
    filters = {
        key: [v for v, on in value.items() if on] if isinstance(value, dict) else value for key, value in raw.items()
    }
    for key in filters:
        if known is not None and key not in known:
            raise InvalidArgument(f"invalid filter '{key}'")
    return filters
