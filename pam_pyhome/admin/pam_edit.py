"""Our lines in a PAM file that all services include, at places where they are reached by a right password and disturb nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pam_pyhome.admin.doctor import answers
from pam_pyhome.admin.doctor.answers import PYHOME, Person
from pam_pyhome.errors import SetupError
from pam_pyhome.formats import escape, pam_stack
from pam_pyhome.formats.pam_stack import Rule, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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
_RULES = {kind: pam_stack.parse(line.decode("ascii"), "")[0] for kind, line in LINES.items()}
#: These verify the password or change it, and whatever comes after them can rely on that: as early as possible.
_EARLY = {"auth", "password"}
#: Between these lines pam-auth-update(8) keeps what comes from profiles; it takes no line outside of them for its own.
_BLOCK = b"# and here are more per-package modules"
_BLOCK_END = b"# end of pam-auth-update config"
#: Its profile comes before ours: it may mount what homes lie on.
_BEFORE_US = "pam_mount"
_FOR_OTHERS = {"ssh-unlock", "authenticate"}


def is_ours(rule: Rule) -> bool:
    """Whether a rule opens and closes homes; what asks after a public key, or instead of a login password, is the site's."""
    return rule.module == PYHOME and not _FOR_OTHERS & set(rule.arguments)


def is_as_made(rule: Rule) -> bool:
    """Whether one of our rules does what it did when it was made; words for the module may have been added."""
    made = _RULES.get(rule.kind)
    return made is not None and dict(made.actions) == dict(rule.actions) and not rule.defect


def control(kind: str) -> str:
    """What our line of a kind says between its kind and the module."""
    return " ".join(LINES[kind].decode("ascii").split()[1:]).partition(" pam_pyhome.so")[0]


def with_lines(files: Files, name: str, content: bytes, kinds: Iterable[str], present: Callable[[Rule], bool]) -> bytes:
    """The content of the file `name`, which has none of our lines of these kinds, with one of each at its place.

    `present` tells whether a module is installed. SetupError if there is no place for one.
    """
    lines = escape.lines(content)
    rules = pam_stack.parse(content.decode("utf-8", "surrogateescape"), files[name][0].file if files.get(name) else name)
    now = {**files, name: rules}
    inserts = [(_place(now, name, kind, lines, present), kind) for kind in kinds]
    for after, kind in sorted(inserts, key=lambda each: each[0], reverse=True):
        if after and not lines[after - 1].endswith(b"\n"):
            lines[after - 1] += b"\n"
        lines.insert(after, _line(kind, managed=any(line.startswith(_BLOCK) for line in lines)))
    return b"".join(lines)


def _line(kind: str, *, managed: bool) -> bytes:
    """Our line; `managed`: written as pam-auth-update writes it, which knows it again then."""
    if not managed:
        return LINES[kind]
    words = re.fullmatch(rb"\w+\s+(\[.*\]|\w+)\s+(\S+) ?(.*)\n", LINES[kind])
    assert words is not None
    return b"%s\t%s\t%s %s\n" % (kind.encode(), *words.groups())


def without_lines(content: bytes, kinds: Iterable[str] = pam_stack.KINDS, *, recount: bool = False, every: bool = False) -> bytes:
    """The content without our lines; with `every`, without the site's uses of the module too.

    `recount`: what jumps over one of them jumps one rule less far.
    """
    rules = [rule for rule in pam_stack.parse(content.decode("utf-8", "surrogateescape"), "") if rule.kind in kinds]
    gone = [rule for rule in rules if (rule.module == PYHOME if every else is_ours(rule))]
    lines = escape.lines(content)
    if recount:
        for rule in rules:
            if rule not in gone:
                _recount(lines, rule, [each for each in rules if each.kind == rule.kind], gone)
    dropped = {number for rule in gone for number in range(rule.line, rule.last + 1)}
    return b"".join(line for number, line in enumerate(lines, 1) if number not in dropped)


def _recount(lines: list[bytes], rule: Rule, kind: Sequence[Rule], gone: Sequence[Rule]) -> None:
    """Have a rule jump over as many others as before when those that are gone do not count."""
    at = kind.index(rule)
    for action in {action for _, action in rule.actions if action.isdigit()}:
        over = sum(each in gone for each in kind[at + 1 : at + 1 + int(action)])
        if 0 < over < int(action):
            for number in range(rule.line, rule.last + 1):
                new = rb"\g<1>%d" % (int(action) - over)
                lines[number - 1] = re.sub(rb"(=\s*)" + action.encode() + rb"(?=[\s\]])", new, lines[number - 1])


def stands_well(files: Files, name: str, content: bytes, kind: str, present: Callable[[Rule], bool]) -> bool:
    """Whether the file has one line of this kind, as we make it, at a place where it is reached and disturbs nothing."""
    ours = [rule for rule in files[name] if rule.kind == kind and is_ours(rule)]
    if len(ours) != 1 or not is_as_made(ours[0]):
        return False
    steps = [step for step in pam_stack.chain(files, name, kind) if step.rule.file == ours[0].file or not is_ours(step.rule)]
    at = next((at for at, step in enumerate(steps) if step.rule == ours[0]), 0)
    if not at:
        return len(steps) == 1
    others = [*steps[:at], *steps[at + 1 :]]
    return not any(is_ours(step.rule) for step in others) and _is_good(others, at - 1, kind, present, strict=False)


def _place(files: Files, name: str, kind: str, lines: Sequence[bytes], present: Callable[[Rule], bool]) -> int:
    """After which line of the file our line of this kind belongs."""
    own = files[name]
    steps = [step for step in pam_stack.chain(files, name, kind) if not is_ours(step.rule)]
    mine = [at for at in range(len(steps)) if steps[at].rule in own]
    if not mine and not any(rule.kind in (kind, "") for rule in own):
        return 0
    good = [at for at in mine if _is_good(steps, at, kind, present, strict=True)]
    # Where a wrong password does not end the stack, ours meets it and does nothing with it.
    good = good or [at for at in mine if _is_good(steps, at, kind, present, strict=False)]
    if not good:
        file = own[0].file if own else name
        raise SetupError(file, f"has no place among its {kind} lines that a right password reaches, behind what verifies it")
    places = [_below_mark(own, steps[at].rule, lines) for at in good]
    marks = [_mark(lines, _BLOCK), _mark(lines, _BLOCK_END)]
    inside = [place for place in places if marks[0] is not None and marks[0] <= place < (marks[1] or 0)]
    if kind not in _EARLY:
        return (inside or places)[-1]
    mounts = max((rule.last for rule in own if rule.kind == kind and rule.module == _BEFORE_US), default=0)
    return next((place for place in inside if place >= mounts), (inside or places)[0])


def _mark(lines: Sequence[bytes], mark: bytes) -> int | None:
    return next((number for number, line in enumerate(lines, 1) if line.startswith(mark)), None)


def _below_mark(own: Sequence[Rule], rule: Rule, lines: Sequence[bytes]) -> int:
    """The last line of a rule, or the line behind which pam-auth-update's own ones begin if no other rule is in between."""
    mark = _mark(lines, _BLOCK)
    between = mark is not None and rule.last < mark and not any(rule.last < each.line < mark for each in own)
    return mark if between and mark is not None else rule.last


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
