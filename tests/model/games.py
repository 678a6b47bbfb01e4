"""Playing: random games by their seeds, games that are written down, and finding the shortest that shows what is wrong."""

from __future__ import annotations

import os
import random
import time
from typing import NamedTuple

from tests.model.kernel import Ecryptfs, Fscrypt
from tests.model.play import ACTIONS, Play, Setting, Wrong

#: A step: what happens, and the seed of the dice that decide how.
Step = tuple[str, int]
#: Steps of a game. Most of what goes wrong needs few.
LENGTH = 25


class Order(NamedTuple):
    """What is to be done: the home, first the `games` that are written down, then `steps` in games made up from `seed` on.

    `names` are the signatures of an eCryptfs home's keys, `base` is the mount point of an fscrypt home's file system or the
    directory with the ciphertext. `shrink`: how many seconds to look for a shorter game.
    """

    kind: str
    home: str
    base: str
    uid: int
    password: str
    names: list[str]
    device: str
    daemon: list[str]
    log: str
    seconds: float
    seed: int
    steps: int
    shrink: float
    games: list[list[Step]]


class Games:
    """All games with one home."""

    def __init__(self, order: Order) -> None:
        kernel = Fscrypt(order.base, order.home) if order.kind == "fscrypt" else Ecryptfs(order.base, tuple(order.names))
        device, daemon = order.device, order.daemon
        setting = Setting(order.home, order.uid, order.password, device, daemon, order.log, order.seconds)
        self._order, self._play = order, Play(setting, kernel)
        self._play.daemon.start()
        self.steps = 0

    def run(self) -> dict[str, object]:
        """Play; how many steps there were, and what was wrong if anything was. The machine is as it was before."""
        try:
            return self._run()
        finally:
            self._play.leave()

    def _run(self) -> dict[str, object]:
        for game in self._order.games:
            if (wrong := self.replay(game)) is not None:
                return self._shrink(game, wrong, "written down")
        seed = self._order.seed
        while self.steps < self._order.steps:
            game, wrong = self.make_up(seed)
            if wrong is not None:
                return self._shrink(game, wrong, f"seed {seed}")
            seed += 1
        return {"steps": self.steps}

    def make_up(self, seed: int) -> tuple[list[Step], str | None]:
        """A random game; its steps, and what is wrong."""
        dice = random.Random(seed)
        game: list[Step] = []

        def choose() -> Step | None:
            if len(game) == LENGTH:
                return None
            names = [name for name, action in ACTIONS.items() if action.can(self._play)]
            (name,) = dice.choices(names, [ACTIONS[name].weight for name in names])
            game.append((name, dice.randrange(1000)))
            return game[-1]

        return game, self._until_wrong(choose)

    def replay(self, game: list[Step]) -> str | None:
        """A game that is written down, without the steps that cannot be made; what is wrong."""
        left = list(game)

        def choose() -> Step | None:
            while left:
                name, number = left.pop(0)
                if ACTIONS[name].can(self._play):
                    return name, number
            return None

        return self._until_wrong(choose)

    def _until_wrong(self, choose: object) -> str | None:
        assert callable(choose)
        try:
            while (step := choose()) is not None:
                name, number = step
                self.steps += 1
                getattr(self._play, name)(random.Random(number))
                self._play.settle()
            self._play.end_all()
            self._play.settle()
        except Wrong as wrong:
            self._play.reset()
            return str(wrong)
        return None

    def _shrink(self, game: list[Step], wrong: str, source: str) -> dict[str, object]:
        """Drop steps as long as something is wrong without them."""
        deadline = time.monotonic() + self._order.shrink
        say(f"{source}: {wrong}\n  {game}")
        shortest, size = game, max(1, len(game) // 2)
        while size and time.monotonic() < deadline:
            start = 0
            while start < len(shortest) and time.monotonic() < deadline:
                shorter = shortest[:start] + shortest[start + size :]
                if (found := self.replay(shorter)) is not None:
                    shortest, wrong = shorter, found
                else:
                    start += size
            size //= 2
        lines = self._play.log.lines[-20:]
        return {"steps": self.steps, "wrong": wrong, "source": source, "game": shortest, "log": lines}


def say(text: str) -> None:
    """A line of the report, at once."""
    os.write(1, f"{text}\n".encode())
