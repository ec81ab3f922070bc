"""One line of comma separated fields, as in --mount and --gpus: RFC 4180 quoting, without importing csv."""

from __future__ import annotations


def split_fields(text: str) -> list[str]:
    """Cut at commas outside quotes; `"a,b"` is one field and `""` in quotes is a quote. Raises ValueError."""
    fields: list[str] = []
    position, size = 0, len(text)
    while True:
        if text[position : position + 1] == '"':
            field, position = _quoted(text, position + 1)
        else:
            end = text.find(",", position)
            end = size if end < 0 else end
            field = text[position:end]
            if '"' in field:
                raise ValueError(
                    f'parse error on line 1, column {position + field.index(chr(34)) + 1}: bare " in non-quoted-field'
                )
            position = end
        fields.append(field)
        if position >= size:
            return fields
        position += 1


def _quoted(text: str, position: int) -> tuple[str, int]:
    field = ""
    while True:
        end = text.find('"', position)
        if end < 0:
            raise ValueError(f'parse error on line 1, column {len(text) + 1}: extraneous or missing " in quoted-field')
        field += text[position:end]
        if text[end + 1 : end + 2] == '"':
            field += '"'
            position = end + 2
            continue
        if end + 1 < len(text) and text[end + 1] != ",":
            raise ValueError(f'parse error on line 1, column {end + 1}: extraneous or missing " in quoted-field')
        return field, end + 1
