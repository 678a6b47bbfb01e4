"""How far it is: one estimate for all parts, a line for each width, and words now and then where there is no terminal."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest

from pam_pyhome.admin import conversion_facts as facts
from pam_pyhome.admin import conversion_progress
from pam_pyhome.admin.conversion_checks import Outlook
from pam_pyhome.admin.conversion_progress import Course
from pam_pyhome.admin.tree import Survey
from pam_pyhome.backends.base import Account
from pam_pyhome.cli import conversion_text, progress

GIGA = 10**9


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(course: Course, clock: Clock, copying: float, verifying: float) -> Iterator[tuple[float, float | None]]:
    """A conversion that takes so many seconds, in hundredths; how long is left after each, and what is said of that."""
    for part, seconds, after in (("copying", copying, verifying), ("verifying", verifying, 0.0)):
        for step in range(1, 101):
            clock.now += seconds / 100
            course.tell(part, course.size * step // 100, course.files * step // 100)
            yield after + seconds * (100 - step) / 100, course.seconds_left


def test_the_time_left_is_that_of_all_parts(clock: Clock) -> None:
    course = Course(4 * GIGA, 1000)
    said = [(left, told) for left, told in run(course, clock, 11.0, 43.0) if told is not None]
    assert len(said) > 190
    assert all(left / 2.5 - 1 <= told <= left * 2.5 + 1 for left, told in said), said
    assert course.percent == 100


def test_it_never_goes_back(clock: Clock) -> None:
    course = Course(GIGA, 10)
    percents = []
    for _ in run(course, clock, 30.0, 20.0):
        percents.append(course.percent)  # noqa: PERF401 - it changes on the way
    assert percents == sorted(percents)
    assert percents[-1] == 100


@pytest.mark.parametrize("width", [30, 40, 60, 70, 80, 120])
def test_one_line_of_any_terminal(width: int, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is overwritten by the next, and none is longer than the terminal is wide."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress, "_width", lambda: width)
    course = Course(123 * GIGA, 123456)
    with progress.Bars(course.size, course.files) as bars:
        for _ in run(course, clock, 4000.0, 9000.0):
            bars.show(course.part, course.done, course.files_done)
    lines = terminal.getvalue().split("\r")
    assert "\n" not in terminal.getvalue()
    assert max(map(len, lines)) < width
    assert sum(" %" in line and " left" in line for line in lines) > 100
    assert lines[-1].strip() == "" == lines[-2].strip()


def test_without_a_terminal_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    for seconds, least, most in ((4.0, 0, 0), (120.0, 6, 9)):
        course = Course(GIGA, 100)
        with progress.Bars(course.size, course.files) as bars:
            for _ in run(course, clock, seconds, seconds):
                bars.show(course.part, course.done, course.files_done)
        said = capsys.readouterr().err.splitlines()
        assert least <= len(said) <= most, said
        assert all(" %" in line for line in said)


def test_names_that_are_no_users_are_not_looked_for() -> None:
    assert [conversion_progress.find(name) for name in ("", "..", "a/b", ".lock")] == [None] * 4


def test_the_plan_says_where_the_files_go() -> None:
    account = Account("ada", 1000, 1000, "/data/ada")
    plan = (account, facts.ENCRYPT, "ecryptfs", Survey(7, 8, 9, ()), 10, 11, (), None)
    said = conversion_text.outlook(Outlook(*plan, "/home/.ecryptfs/ada", elsewhere=True), 100.0)
    assert "  the files will be in /home/.ecryptfs/ada, which is on another file system than the home" in said
    assert len(conversion_text.outlook(Outlook(*plan, "/data/ada"), 100.0)) == len(said) - 1
