"""The one JSON object that a command prints; its beginning may be printed before the rest is known."""

from __future__ import annotations

import json

#: Of docs/json.md, which is the contract. Fields are added, never changed.
VERSION = 1


class _Begun:
    """Which fields of the object are printed already."""

    fields: frozenset[str] = frozenset()


def start() -> None:
    """Nothing is printed yet."""
    _Begun.fields = frozenset()


def first_part(fields: dict[str, object]) -> str:
    """The beginning of the object: these have to reach whoever reads it before anything else happens."""
    beginning = whole(fields).removesuffix("\n}")
    _Begun.fields = frozenset(fields)
    return beginning


def whole(fields: dict[str, object]) -> str:
    """The object, with the version of its description; only its end, if the beginning is printed already."""
    if _Begun.fields:
        rest = {name: value for name, value in fields.items() if name not in _Begun.fields}
        start()
        return "," + json.dumps(rest, indent=2).removeprefix("{")
    return json.dumps({"version": VERSION, **fields}, indent=2)
