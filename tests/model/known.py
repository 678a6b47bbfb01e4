"""Games that once showed something wrong, each as short as it can be, for both kinds of home."""

from __future__ import annotations

from tests.model.games import Step

GAMES: list[list[Step]] = []
