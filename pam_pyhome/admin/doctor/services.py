"""What each PAM service does with a right and with a wrong password, and what is wrong with that."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import pam_edit, pam_files
from pam_pyhome.admin.doctor import answers
from pam_pyhome.admin.doctor.answers import PYHOME, Person
from pam_pyhome.admin.doctor.finding import FAIL, OK, SKIP, WARN, Finding, edit, reinstall
from pam_pyhome.formats import pam_stack
from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pam_pyhome.admin.pam_files import Files
    from pam_pyhome.formats.pam_stack import Outcome, Rule

#: People log in through these, so a password that is typed there is to open the home.
LOGINS = {
    "login", "remote", "sshd", "gdm-password", "gdm3", "gdm", "lightdm", "sddm", "kde", "lxdm", "xdm", "slim", "greetd", "ly",
    "xrdp-sesman", "cockpit",
}  # fmt: skip
#: These have to make a session keyring of the login's own, as all distributions have it.
WITH_KEYRING = {"login", "sshd", "gdm-password", "sddm"}
#: What these run for a user can be refused while the home is locked.
_JOBS = {"cron", "crond", "atd"}
#: Passwords are changed here.
CHANGES = ("passwd",)
#: Services that ask a user of their own, or for something else than a password.
_GREETERS = ("-greeter", "-launch-environment", "-autologin", "-fingerprint", "-smartcard")
RELINE = "pyhome setup"


class Walked(NamedTuple):
    """What a service does with a right and a wrong password, and with the session and the password change behind it."""

    right: Outcome
    wrong: Outcome
    session: Outcome
    password: Outcome


def walk(files: Files, service: str, person: Person | None = None) -> Walked:
    """Follow all stacks of a service."""
    whose = person or Person(service)

    def outcome(kind: str, who: Person) -> Outcome:
        return pam_stack.walk(
            pam_stack.chain(files, service, kind),
            lambda rule: answers.answer(rule, who, present=pam_files.module_path(rule.target) is not None),
        )

    right = outcome("auth", whose._replace(right=True))
    return Walked(
        right, outcome("auth", whose._replace(right=False)), outcome("session", whose), outcome("password", whose)
    )


def place_of(outcome: Outcome, module: str = PYHOME) -> int | None:
    """At which place of the trail a module was reached; None if it was not. What asks after a public key does not count."""
    for at, passed in enumerate(outcome.trail):
        if passed.rule.module == module and "ssh-unlock" not in passed.rule.arguments:
            return at
    return None


def verifier(outcome: Outcome) -> Rule | None:
    """The rule that has verified the password."""
    return next((each.rule for each in outcome.trail if each.code == "success" and answers.verifies(each.rule)), None)


def problems(files: Files, skipped: Sequence[str] = (), person: Person | None = None) -> Iterator[Finding]:
    """What is not as it should be, service by service: one cause is found as often as it is met."""
    if not any(rule.module == PYHOME for rules in files.values() for rule in rules):
        yield Finding(FAIL, "pam.lines", "/etc/pam.d", "no service has a line with pam_pyhome.so", RELINE)
    for service in pam_files.services(files):
        if service not in CHANGES and service not in skipped:
            whose = (person or Person(service))._replace(service=service)
            yield from (each for each in about_service(service, walk(files, service, whose)) if each.level in (WARN, FAIL))
            yield from _about_lines(files, service)
            yield from _about_early(files, whose)
    yield from (each for each in about_changes(files, person) if each.level in (WARN, FAIL))


def _about_lines(files: Files, service: str) -> Iterator[Finding]:
    """Our lines themselves: whether there is one of each kind, as it was made."""
    for kind in pam_stack.KINDS:
        ours = [step.rule for step in pam_stack.chain(files, service, kind) if pam_edit.is_ours(step.rule)]
        if service not in files or not any(rule.kind in (kind, "") for rule in files[service]):
            continue
        if len(ours) > 1:
            text = f"asks pam_pyhome more than once ({kind}): {' and '.join(sorted({rule.place for rule in ours}))}"
            yield Finding(WARN, "pam.twice", service, text, edit(ours[-1].file))
        for rule in ours:
            if not pam_edit.is_as_made(rule):
                text = f"{rule.place} is not pyhome's line for {kind} any more: it ought to say {pam_edit.control(kind)}"
                yield Finding(WARN, "pam.edited", service, text, edit(rule.file))
    chains = {kind: pam_stack.chain(files, service, kind) for kind in ("session", "account")}
    there = {kind for kind, steps in chains.items() if any(pam_edit.is_ours(step.rule) for step in steps)}
    if service in LOGINS | _JOBS and there == {"session"}:
        text = "the account stack never reaches pam_pyhome, so that jobs = refuse refuses nothing"
        yield Finding(WARN, "pam.account", service, text, RELINE)


def editor_for(found: Finding) -> str:
    """What to type where a person has to decide."""
    return edit(_service_file(found.subject)) if found.mend == RELINE else found.mend


def about_service(service: str, walked: Walked) -> Iterator[Finding]:
    """What a right password does, and what is wrong with how it does it."""
    verified = verifier(walked.right)
    auth, session = place_of(walked.right), place_of(walked.session)
    problems = list(_about_auth(service, walked))
    if verified is not None:
        problems += [*_about_session(service, walked), *_about_others(service, walked)]
    yield from problems
    if any(each.level == FAIL for each in problems):
        return
    if verified is None:
        text = "verifies no password" if walked.right.code == pam_stack.SUCCESS else "lets no ordinary user in by password"
        yield Finding(SKIP, "pam.service", service, text)
    elif auth is None and session is None:
        yield Finding(SKIP, "pam.service", service, f"a right password ({verified.place}) leaves the home as it is")
    elif auth is not None and session is not None:
        line = walked.right.trail[auth].rule
        text = f"a right password, verified by {verified.module}, opens the home ({line.place}, then {_line(walked.session)})"
        if place_of(walked.session, "pam_keyinit") is not None:
            text += ", with a session keyring of its own"
        yield Finding(OK, "pam.service", service, text)
    elif session is None:
        yield Finding(SKIP, "pam.service", service, "a right password is noticed, but there is no session to open the home for")
    else:
        text = f"a right password ({verified.place}) leaves the home as it is, and an open one stays open ({_line(walked.session)})"
        yield Finding(SKIP, "pam.service", service, text)


def _line(outcome: Outcome) -> str:
    at = place_of(outcome)
    return "" if at is None else outcome.trail[at].rule.place


def _about_auth(service: str, walked: Walked) -> Iterator[Finding]:
    right, wrong = walked.right, walked.wrong
    verified = verifier(right)
    if verified is None:
        if service in LOGINS and place_of(walked.session) is None:
            yield Finding(FAIL, "pam.auth", service, "nothing verifies a password, and pam_pyhome is not reached", RELINE)
        return
    if right.code != pam_stack.SUCCESS:
        last = right.trail[-1]
        text = f"refuses even a right password, at {last.rule.place} ({last.rule.module} answers {last.code})"
        yield Finding(FAIL, "pam.refused", service, text, edit(last.rule.file))
    elif wrong.code == pam_stack.SUCCESS and not service.endswith(_GREETERS):
        text = f"lets in with a wrong password: {verified.place} is not decisive"
        yield Finding(FAIL, "pam.bypass", service, text, edit(verified.file))
    auth = place_of(right)
    if auth is None:
        if service in LOGINS:
            text = "a right password never reaches pam_pyhome, so the home stays locked"
            yield Finding(FAIL, "pam.auth", service, text, RELINE)
        return
    rule = right.trail[auth].rule
    if verified in [each.rule for each in right.trail[auth + 1 :]]:
        text = f"{rule.place} is asked before the password has been verified; it belongs behind {verified.place}"
        yield Finding(WARN, "pam.order", service, text, edit(rule.file))
    if right.trail[auth].code == pam_stack.UNKNOWN_MODULE and "/" in rule.target:
        yield Finding(FAIL, "pam.module", service, f"{rule.place} names {rule.target}, which is not installed", reinstall())


#: These judge the account, or the place it comes from: whoever then gives the right password is still its owner.
_ABOUT_ACCOUNTS = {
    "pam_faillock", "pam_tally2", "pam_shells", "pam_nologin", "pam_securetty", "pam_selinux_permit", "pam_access", "pam_time",
    "pam_listfile", "pam_succeed_if", "pam_usertype", "pam_localuser", "pam_rootok", "pam_group", "pam_gdm",
}  # fmt: skip


def _about_early(files: Files, person: Person) -> Iterator[Finding]:
    """Modules after whose failure the stack goes on, so that pam_pyhome, which is told nothing of it, derives keys all the same."""
    steps = pam_stack.chain(files, person.service, "auth")

    def present(rule: Rule) -> bool:
        return pam_files.module_path(rule.target) is not None

    def follow(failing: Rule | None) -> Outcome:
        return pam_stack.walk(
            steps, lambda rule: "auth_err" if rule == failing else answers.answer(rule, person, present=present(rule))
        )

    right = follow(None)
    before = right.trail[: place_of(right) or 0] if right.code == pam_stack.SUCCESS else ()
    for rule in (each.rule for each in before):
        if rule.module in _ABOUT_ACCOUNTS or not answers.asks_more(rule, present=present(rule)):
            continue
        refused = follow(rule)
        at = place_of(refused)
        if at is not None and refused.code != pam_stack.SUCCESS:
            place = refused.trail[at].rule.place
            text = f"{rule.place}: whoever fails at {rule.module}.so is refused only behind {place}, which derives keys for nothing"
            simple = dict(rule.actions) == pam_stack.REQUIRED and rule.line == rule.last
            mend = f"sed -i '{rule.line}s/required/requisite/' {quoted(rule.file)}" if simple else edit(rule.file)
            yield Finding(WARN, "pam.early", person.service, text, mend)


def _about_session(service: str, walked: Walked) -> Iterator[Finding]:
    outcome = walked.session
    at = place_of(outcome)
    if at is None:
        if place_of(walked.right) is not None and service in LOGINS:
            text = "the session stack never reaches pam_pyhome, so nothing is mounted after a right password"
            yield Finding(FAIL, "pam.session", service, text, RELINE)
        return
    rule = outcome.trail[at].rule
    if outcome.code != pam_stack.SUCCESS:
        last = next(each for each in reversed(outcome.trail) if each.code != pam_stack.SUCCESS or each is outcome.trail[-1])
        text = f"no session can be opened: {last.rule.place} ({last.rule.module}) answers {last.code}"
        yield Finding(FAIL, "pam.refused", service, text, edit(last.rule.file))
    before = {each.rule.module for each in outcome.trail[:at]}
    after = {each.rule.module: each.rule for each in outcome.trail[at + 1 :]}
    if "pam_systemd" in before:
        text = f"{rule.place} comes after pam_systemd, so that the user's services start on a locked home"
        yield Finding(WARN, "pam.order", service, text, RELINE)
    if "pam_keyinit" in after and "pam_keyinit" not in before:
        late = after["pam_keyinit"]
        text = f"{late.place} makes the session keyring only after {rule.place}, so the keys are not in it"
        yield Finding(WARN, "keyinit", service, text, _keyring_first(service, late))
    elif service in WITH_KEYRING and "pam_keyinit" not in before:
        text = "makes no session keyring of the login's own: pam_keyinit.so is not reached"
        yield Finding(WARN, "keyinit", service, text, _keyring_first(service, None))


def _keyring_first(service: str, late: Rule | None) -> str:
    """The command that has a service make the keyring before anything else of the session; `late` is the line that does it now."""
    path = _service_file(service)
    rules = [rule for rule in pam_files.read_all().get(service, ()) if rule.file == path]
    first = next((rule for rule in rules if rule.kind == "session" or (not rule.kind and "session" in rule.target)), None)
    if first is None or (late is not None and late.file != path):
        return edit(path)
    gone = "" if late is None else f" -e {late.line},{late.last}d"
    return f"sed -i -e '{first.line}i session optional pam_keyinit.so force revoke'{gone} {quoted(path)}"


def _service_file(service: str) -> str:
    return next((f"{each}/{service}" for each in pam_files.DIRECTORIES if os.path.exists(f"{each}/{service}")), service)


# Other tools that open homes


def _about_others(service: str, walked: Walked) -> Iterator[Finding]:
    """Those that are reached beside pam_pyhome and have something to do."""
    reached = {each.rule.module: each.rule for each in (*walked.right.trail, *walked.session.trail)}
    if PYHOME not in reached:
        return
    for module, (acts, what, profile) in _OTHERS.items():
        if module in reached and pam_files.module_path(reached[module].target) is not None and acts():
            rule, mend = reached[module], ""
            if profile and os.path.basename(rule.file).startswith("common-"):
                mend = f"pam-auth-update --disable {profile}"
            elif profile:
                mend = f"sed -i '/^[^#].*{module}\\.so/s/^/#/' {quoted(rule.file)}"
            yield Finding(WARN if mend else SKIP, "pam.others", service, f"{module} {what}", mend)


def _always() -> bool:
    return True


def _has_volumes() -> bool:
    """Whether pam_mount's configuration names a volume outside of comments."""
    try:
        with open("/etc/security/pam_mount.conf.xml", encoding="utf-8", errors="replace") as file:
            text = file.read(1024 * 1024)
    except OSError:
        return False
    outside = [part.partition("-->")[2] if at else part for at, part in enumerate(text.split("<!--"))]
    return any("<volume" in part for part in outside)


def _has_fscrypt() -> bool:
    return any(os.path.isdir(f"{top}/.fscrypt/protectors") for top in ("", "/home"))


def _has_homed() -> bool:
    try:
        return any(name.endswith(".identity") for name in os.listdir("/var/lib/systemd/home"))
    except OSError:
        return False


_OTHERS = {
    "pam_ecryptfs": (_always, "opens and closes the same homes", "ecryptfs-utils"),
    "pam_mount": (_has_volumes, "mounts volumes of its own at each login", "libpam-mount"),
    "pam_fscrypt": (_has_fscrypt, "unlocks and locks directories by itself", "fscrypt"),
    "pam_systemd_home": (_has_homed, "manages homes of its own, which pyhome leaves alone", ""),
}


# Changing the password


def about_changes(files: Files, person: Person | None) -> Iterator[Finding]:
    """Whether a changed password becomes that of the home."""
    for service in CHANGES:
        if service not in files:
            continue
        whose = (person or Person(service))._replace(service=service)
        outcome = walk(files, service, whose).password
        at = place_of(outcome)
        if at is None:
            text = "a changed password does not reach pam_pyhome, so it would not open the home any more"
            yield Finding(FAIL, "pam.password", service, text, RELINE)
        elif not any(answers.verifies(each.rule) and each.code == pam_stack.SUCCESS for each in outcome.trail[:at]):
            text = f"{outcome.trail[at].rule.place} comes before the password has been changed"
            yield Finding(WARN, "pam.password", service, text, edit(outcome.trail[at].rule.file))
        else:
            yield Finding(OK, "pam.password", service, f"a changed password opens the home ({outcome.trail[at].rule.place})")
