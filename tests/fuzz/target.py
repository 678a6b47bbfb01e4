"""What a target in Python is: a function of some bytes that raises if something does not hold, and inputs to begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from pam_pyhome.errors import FormatError, PyhomeError, WireError

P = ParamSpec("P")
T = TypeVar("T")
Property = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """One target: its `name`, what must hold for all bytes, inputs that are likely to lead far, and the longest that are tried."""

    name: str
    holds: Property
    seeds: tuple[bytes, ...]
    longest: int


TARGETS: dict[str, Target] = {}


def target(name: str, *, seeds: Iterable[bytes], longest: int = 4096) -> Callable[[Property], Property]:
    """Make the decorated function a target."""

    def register(holds: Property) -> Property:
        TARGETS[name] = Target(name, holds, tuple(seeds), longest)
        return holds

    return register


def parsed(parse: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """What `parse` makes of it, or None where it refuses. Any other exception goes on, and is a finding."""
    try:
        return parse(*args, **kwargs)
    except (FormatError, WireError) as error:
        check_sentence(error)
        return None


def check_sentence(error: PyhomeError, say: Callable[[str], str] = str) -> None:
    """A refusal is told to people: one line that a terminal and the log can take, whatever the bytes were."""
    sentence = say(str(error))
    assert sentence.isprintable(), f"not printable: {sentence!r}"
    assert len(sentence) < 500, f"too long: {sentence!r}"


def parts(data: bytes, count: int) -> list[bytes]:
    """Several inputs in one: `count` parts, separated by lines of four equals signs; those that are missing are empty."""
    found = data.split(SEPARATOR, count - 1)
    return found + [b""] * (count - len(found))


SEPARATOR = b"\n====\n"
