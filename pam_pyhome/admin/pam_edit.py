"""Our lines in a PAM file that all services include, at places where they are reached by a right password and disturb nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pam_pyhome.admin.doctor import answers
from pam_pyhome.admin.doctor.answers import PYHOME, Person
from pam_pyhome.errors import SetupError
from pam_pyhome.formats import escape, pam_stack
from pam_pyhome.formats.pam_stack import Rule, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pam_pyhome.admin.pam_files import Files

LINES = {
    "auth": b"auth       optional                    pam_pyhome.so unwrap\n",
    "account": b"account    [success=ok perm_denied=bad acct_expired=bad default=ignore] pam_pyhome.so\n",
    "password": (
        b"password   [success=ok authtok_err=bad authtok_recover_err=bad authtok_lock_busy=bad try_again=bad perm_denied=bad "
        b"system_err=bad default=ignore] pam_pyhome.so\n"
    ),
    "session": b"session    optional                    pam_pyhome.so\n",
}
#: These verify the password or change it, and whatever comes after them can rely on that: as early as possible.
_EARLY = {"auth", "password"}


def with_lines(files: Files, name: str, content: bytes, present: Callable[[Rule], bool]) -> bytes:
    """The content of the file `name` with our lines in, each kind that has none yet.

    `present` tells whether a module is installed. SetupError if there is no place for one.
    """
    lines = escape.lines(content)
    inserts: list[tuple[int, bytes]] = []
    for kind, line in LINES.items():
        steps = pam_stack.chain(files, name, kind)
        if not any(step.rule.module == PYHOME for step in steps):
            inserts.append((_place(steps, files[name], kind, present), line))
    for after, line in sorted(inserts, key=lambda each: each[0], reverse=True):
        if after and not lines[after - 1].endswith(b"\n"):
            lines[after - 1] += b"\n"
        lines.insert(after, line)
    return b"".join(lines)


def without_lines(content: bytes) -> bytes:
    """The content without what `with_lines` puts in."""
    return b"".join(line for line in escape.lines(content) if line not in LINES.values())


def _place(steps: Sequence[Step], own: Sequence[Rule], kind: str, present: Callable[[Rule], bool]) -> int:
    """After which line of the file our line of this kind belongs."""
    mine = [at for at in range(len(steps)) if steps[at].rule in own]
    good = [at for at in mine if _is_good(steps, at, kind, present, strict=True)]
    # Where a wrong password does not end the stack, ours meets it and does nothing with it.
    good = good or [at for at in mine if _is_good(steps, at, kind, present, strict=False)]
    if not good:
        file = own[0].file if own else ""
        raise SetupError(file, f"has no place among its {kind} lines that a right password reaches, behind what verifies it")
    return steps[good[0] if kind in _EARLY else good[-1]].rule.last


def _is_good(steps: Sequence[Step], at: int, kind: str, present: Callable[[Rule], bool], *, strict: bool) -> bool:
    """Whether our line may follow step `at`: the other rules come to the same, with us behind what verifies.

    `strict`: no wrong password reaches it.
    """
    if steps[at].level or in_a_jump(steps, at + 1):
        return False
    ours = Step(Rule("", 0, 0, kind, f"{PYHOME}.so", actions=(("default", "ignore"),)), 0)
    longer = [*steps[: at + 1], ours, *steps[at + 1 :]]

    def trail(chain: Sequence[Step], person: Person) -> list[Rule]:
        outcome = pam_stack.walk(chain, lambda rule: answers.answer(rule, person, present=rule is ours.rule or present(rule)))
        return [passed.rule for passed in outcome.trail]

    people = [Person("login", right=right, local=local) for right in (True, False) for local in (True, False)]
    if any([rule for rule in trail(longer, each) if rule is not ours.rule] != trail(steps, each) for each in people):
        return False
    reached = trail(longer, people[0])
    if ours.rule not in reached or steps[at].rule not in reached:
        return False
    before = reached[: reached.index(ours.rule)]
    if kind == "session" and any(rule.module == "pam_systemd" for rule in before):
        return False
    if kind not in _EARLY:
        return True
    if not any(rule.module in answers.LOCAL for rule in before):
        return False
    return not strict or kind != "auth" or ours.rule not in trail(longer, people[2])


def in_a_jump(steps: Sequence[Step], place: int) -> bool:
    """Whether some jump passes over what is put in at `place`, or lands on it: a jump means the rules it was written for."""
    for at, step in enumerate(steps[:place]):
        counts = [int(action) for _, action in step.rule.actions if action.isdigit()]
        if counts and step.level == 0 and place <= at + max(counts) + 1:
            return True
    return False
