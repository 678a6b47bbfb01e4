"""The line in sshd's PAM file that asks for the home's password after a public key, and what must not be behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import pam_edit, pam_files
from pam_pyhome.admin.doctor import answers
from pam_pyhome.admin.plan import Change, observe
from pam_pyhome.errors import SshdError
from pam_pyhome.formats import pam_stack
from pam_pyhome.sshd import config

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pam_pyhome.formats.pam_stack import Rule, Step

SERVICE = "sshd"
PAM_FILE = f"/etc/pam.d/{SERVICE}"
# Success ends the questions: the key has been verified by sshd, and the home is open. Anything else goes on as without it.
LINE = b"auth       [success=done default=ignore]  pam_pyhome.so ssh-unlock\n"
# To be kept from these takes nothing from anybody.
_UNASKING = {"pam_deny", "pam_permit"}
_AUTH = (b"auth", b"-auth", b"@include common-auth")


def changes(*, wanted: bool) -> list[Change]:
    """The change that puts the line before all others of its kind, or takes it out. SshdError if it does not fit in."""
    now = observe(PAM_FILE)
    content = now.content if now is not None else None
    if now is None or content is None:
        if not wanted:
            return []
        raise SshdError(PAM_FILE, "is not there, so that sshd would not ask for the home's password")
    lines = content.splitlines(keepends=True)
    new = b"".join(_with_line(lines) if wanted else [line for line in lines if line != LINE])
    return [] if new == content else [Change(PAM_FILE, now, now._replace(content=new))]


def _with_line(lines: list[bytes]) -> list[bytes]:
    if any(not line.lstrip().startswith(b"#") and {b"pam_pyhome.so", b"ssh-unlock"} <= set(line.split()) for line in lines):
        return lines
    first = next((at for at, line in enumerate(lines) if line.lower().startswith(_AUTH)), None)
    if first is None:
        raise SshdError(PAM_FILE, "has no auth line before which the new one could stand")
    return [*lines[:first], LINE, *lines[first:]]


# What the line would pass over


class Objection(NamedTuple):
    """Why sshd is not to ask for the home's password: what it is about, the reason, and a command that helps."""

    what: str
    reason: str
    mend: str

    @property
    def sentence(self) -> str:
        """The reason and the way forward."""
        return f"{self.reason}; what helps: {self.mend}"


def asks() -> bool:
    """Whether sshd's stack has the line, wherever it stands."""
    return any(_is_ours(step.rule) for step in pam_stack.chain(pam_files.read_all(), SERVICE, "auth"))


def objections(planned: Iterable[Change], directives: Iterable[config.Directive]) -> Iterator[Objection]:
    """What the line, once these changes are made, would keep from being asked, and what can be done instead.

    Only the password may be passed over: the key stands in for that, as it does without PAM. Where the site has PAM ask after
    a key by AuthenticationMethods of its own, not even the password.
    """
    own = list(config.asking_after_key(directives))
    instead = {change.path: change.after.content for change in planned if change.path == PAM_FILE and change.after is not None}
    steps = pam_stack.chain(pam_files.read_all(instead), SERVICE, "auth")
    ours = [at for at, step in enumerate(steps) if _is_ours(step.rule)]
    over = [rule for at in ours for rule in pam_stack.passed_over(steps, at) if not _is_ours(rule)]
    demands = _demands([step.rule for step in steps])
    found = {rule: demands[rule] for rule in over if rule in demands}
    for rule, what in found.items():
        # The line is put in before all of these.
        place = f"{rule.file}:{rule.line - 1}" if rule.file in instead else rule.place
        reason = f"has {what}, and the line that asks for the home's password after a key would pass over it"
        yield Objection(place, reason, _advice(every=bool(own)))
    for each in own if not found and any(rule.module not in _UNASKING for rule in over) else ():
        what = f"has PAM ask after the key by AuthenticationMethods {' '.join(each.arguments)}"
        yield Objection(each.place, f"{what}, and the line for the home's password could answer instead", _advice(every=True))


def _demands(rules: Iterable[Rule]) -> dict[Rule, str]:
    """The rules that may want more than the password, and what to say of them."""
    found: dict[Rule, str] = {}
    lenient = ""
    for rule in rules:
        if rule.includes and not rule.defect:
            continue
        if answers.asks_more(rule, present=pam_files.module_path(rule.target) is not None):
            name = f"{rule.module}.so" if rule.module else "a rule without a module"
            found[rule] = f"{name}, which may ask for more than the password"
            # Who fails there goes on, maybe to be refused by the next rule.
            lenient = name if rule.action("auth_err") not in {"bad", "die"} else lenient
        elif rule.module == "pam_deny" and lenient:
            found[rule] = f"pam_deny.so, which may be for those whom {lenient} has not let through"
    return found


def _is_ours(rule: Rule) -> bool:
    return rule.module == answers.PYHOME and "ssh-unlock" in rule.arguments


def _advice(*, every: bool) -> str:
    """A command that puts the line where it passes over nothing: behind what asks for more, or behind `every` rule."""
    line = _line_behind(every=every)
    if line is None:
        return "pyhome sshd apply --no-unlock-at-login"
    text = LINE.decode("ascii").strip()
    return f"sed -i -e '/^[^#]*ssh-unlock/d' -e '{line}a {text}' {PAM_FILE}"


def _line_behind(*, every: bool) -> int | None:
    """After which line of sshd's file; not where a jump passes over it, or lands on it."""
    files = pam_files.read_all()
    others = {name: rules for name, rules in files.items() if name not in {SERVICE, "other"}}
    demands = _demands(step.rule for step in pam_stack.chain(files, SERVICE, "auth"))
    steps: list[Step] = []
    ends: list[tuple[int, int]] = []
    for rule in files.get(SERVICE, ()):
        inner = pam_stack.chain(others | {SERVICE: (rule,)}, SERVICE, "auth") if not _is_ours(rule) else ()
        steps += inner
        if inner and (every or any(step.rule in demands for step in inner)):
            ends.clear()
        if inner:
            ends.append((len(steps), rule.last))
    return next((line for end, line in ends if end == len(steps) or not pam_edit.in_a_jump(steps, end)), None)
