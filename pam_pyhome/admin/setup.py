"""``setup`` and its undoing: the PAM lines and the daemon's sockets as one plan, proved before and after it is carried out.

Two journals: one knows what every path was before the first run, for `undo_plan`; the other, in `PENDING`, what it was before the
run that is under way. Whoever finds something in the second takes that run back first.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome import events
from pam_pyhome.admin import debian_pam, pam_edit, pam_files, pam_plan, plan, proof
from pam_pyhome.admin.doctor import services as stacks
from pam_pyhome.admin.journal import Journal, read_kept
from pam_pyhome.admin.plan import Change, Node, observe
from pam_pyhome.errors import PyhomeError, SetupError
from pam_pyhome.kernel import libpam
from pam_pyhome.kernel.log import log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pam_pyhome.admin.proof import Tried

STATE = "/var/lib/pyhome/setup"
PENDING = f"{STATE}/pending"
MADE, REVERTED, EARLIER = "made", "reverted", "earlier"
UNITS = ("pyhomed.socket", "pyhomed-unlock.socket", "pyhome-sync.path", "pyhome-sync.timer")
_UNIT_DIRECTORIES = ("/usr/lib/systemd/system", "/lib/systemd/system")
_WANTS = "/etc/systemd/system/sockets.target.wants"
_SYSTEMD = "/run/systemd/system"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
_PROVED_MAX = 3


class Proposal(NamedTuple):
    """A plan, and how the services that it is proved with answer before it."""

    changes: tuple[Change, ...]
    before: dict[str, Tried]
    after: dict[str, Tried]


# Planning


def propose() -> Proposal:
    """Make the plan and try it out. Nothing is changed. SetupError if the machine cannot be made ready so."""
    changes = [*pam_plan.changes(), *_unit_changes()]
    contents = pam_plan.contents(changes)
    before = {name: proof.try_out(name, {}) for name in _provable(contents)} if contents else {}
    usable = {name: tried for name, tried in before.items() if tried.lets_in}
    if contents and not usable:
        raise SetupError("/etc/pam.d", "has no service for which it can be tried out that a right password still lets in")
    after = {name: proof.try_out(name, contents) for name in usable}
    for name, tried in after.items():
        _check_tried(name, usable[name], tried)
    if contents and not any(tried.leased for tried in after.values()):
        raise SetupError("/etc/pam.d", "has no service for which it can be tried out that the new lines reach pyhome")
    return Proposal(tuple(changes), usable, after)


def _unit_changes() -> list[Change]:
    """The links that have systemd listen on the daemon's sockets from boot on."""
    found: list[Change] = []
    for unit in UNITS:
        path = next((f"{each}/{unit}" for each in _UNIT_DIRECTORIES if os.path.isfile(f"{each}/{unit}")), None)
        if path is not None and not os.path.lexists(f"{_WANTS}/{unit}") and os.path.isdir(os.path.dirname(os.path.dirname(_WANTS))):
            found.append(Change(f"{_WANTS}/{unit}", None, Node(0, 0, 0o777, os.fsencode(path), link=True)))
    missing = [each for each in (os.path.dirname(_WANTS), _WANTS) if found and not os.path.isdir(each)]
    return [*(Change(each, None, Node(0, 0, 0o755, None)) for each in missing), *found]


# Proving


def _provable(contents: Mapping[str, bytes | None]) -> list[str]:
    """Services to try out: those that are edited and those that people log in through, then su, if a password decides there."""
    files = pam_files.read_all()
    edited = [os.path.basename(path) for path in contents]
    first = [*(name for name in edited if name in stacks.LOGINS), *(name for name in ("login", "sshd") if name not in edited)]
    rest = [name for name in pam_files.services(files) if name in stacks.LOGINS and name not in first]
    names = [name for name in (*first, *rest, "su", "su-l") if name in files]
    decided = (name for name in names if stacks.verifier(stacks.walk(files, name).right) is not None)
    return list(decided)[:_PROVED_MAX]


def _check_tried(service: str, before: Tried, now: Tried) -> None:
    """SetupError unless everything is as before, and pyhome takes part in the session."""
    what = f"PAM service {service}"
    if now.wrong == libpam.SUCCESS:
        raise SetupError(what, "would let somebody in with a wrong password")
    if now.right != before.right:
        step = next(name for name, code in now.right.items() if code != before.right[name])
        raise SetupError(what, f"would refuse a right password: {step} answered with code {now.right[step]}")
    if not now.leased and service in stacks.LOGINS:
        raise SetupError(what, "would open a session that pyhome does not notice")


# Carrying out


def has_unfinished() -> bool:
    """Whether a run was killed before its end."""
    return os.path.exists(f"{PENDING}/journal")


def restore() -> list[Change]:
    """Take back a run that was killed; what that changed."""
    if not has_unfinished():
        return []
    with Journal(STATE) as journal, Journal(PENDING) as pending:
        _sweep([*pending.paths(), *journal.paths()])
        undone = pending.undo()
        plan.carry_out(undone)
        pending.close(keep_as=REVERTED, undone=undone)
        log(events.SETUP_CHANGED, f"took back a run that was killed: {_paths(undone)}")
        if not journal.undo():
            journal.close(keep_as=EARLIER, undone=())
    return undone


def _paths(changes: Sequence[Change]) -> str:
    return ", ".join(change.path for change in changes)


def _sweep(paths: Sequence[str]) -> None:
    plan.sweep({os.path.dirname(path) for path in paths})


def carry_out(proposal: Proposal) -> list[str]:
    """Apply a plan and prove the result; sentences about what else was done.

    SetupError if it is not right; everything is as before then.
    """
    with Journal(STATE) as journal, Journal(PENDING) as pending:
        if not _is_as_made(journal):
            journal.close(keep_as=EARLIER, undone=())
        pending.record(proposal.changes)
        try:
            plan.apply(proposal.changes, journal)
            _prove(proposal)
        except (PyhomeError, OSError, KeyboardInterrupt):
            undone = pending.undo()
            plan.carry_out(undone)
            pending.close(keep_as=REVERTED, undone=undone)
            raise
        made = _made() | {change.path: change.after for change in proposal.changes}
        pending.close(keep_as=MADE, undone=[Change(path, node, None) for path, node in made.items()])
        log(events.SETUP_CHANGED, _paths(proposal.changes))
    return _start(proposal.changes)


def _prove(proposal: Proposal) -> None:
    """With the files as they are on disk now."""
    for name, before in proposal.before.items():
        _check_tried(name, before, proof.try_out(name, {}))


def _made() -> dict[str, Node | None]:
    return read_kept(PENDING, MADE)


def _is_as_made(journal: Journal) -> bool:
    """Whether everything that earlier runs have changed is still as they left it; what was before is worth knowing then."""
    made = _made()
    return all(path in made and observe(path, links=True) == made[path] for path in journal.paths())


def _start(changes: Sequence[Change]) -> list[str]:
    """Have systemd do at once what the links make it do from boot on, or stop it where they are gone."""
    units = {os.path.basename(each.path): each.after is not None for each in changes if os.path.dirname(each.path) == _WANTS}
    if not units or not os.path.isdir(_SYSTEMD):
        return []
    said = []
    _systemctl("daemon-reload")
    for unit, wanted in units.items():
        verb = "start" if wanted else "stop"
        done = _systemctl(verb, unit)
        said.append(f"{unit} {'is started' if wanted else 'is stopped'}" if done else f"'systemctl {verb} {unit}' failed")
    return said


def _systemctl(*arguments: str) -> bool:
    with contextlib.suppress(OSError):
        ran = subprocess.run(
            ["systemctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, env=_ENVIRONMENT, check=False
        )
        return ran.returncode == 0
    return False


# Undoing


def undo_plan() -> list[Change]:
    """The plan that makes everything what it was before the first run, except what others have changed since.

    SetupError for what others have changed so that our part in it cannot be told.
    """
    with Journal(STATE) as journal:
        changes, made = journal.undo(), _made()
    strange = {change.path: change for change in changes if change.path not in made or made[change.path] != change.before}
    if strange and debian_pam.is_in_charge() and any(map(debian_pam.manages, strange)):
        switched_off = debian_pam.changes(enabled=False)
        # Where the site has edited the files, that does nothing.
        after = pam_files.read_all(pam_plan.contents(switched_off))
        if not any(pam_edit.is_ours(rule) and debian_pam.manages(rule.file) for rules in after.values() for rule in rules):
            others = [change for change in changes if not debian_pam.manages(change.path)]
            return [*_undone(others, strange), *switched_off]
    return _undone(changes, strange)


def _undone(changes: Sequence[Change], strange: Mapping[str, Change]) -> list[Change]:
    """The changes, those of `strange` paths as far as they are ours."""
    kept = [change for change in changes if change.path not in strange]
    for change in strange.values():
        if change in changes:
            kept += _taken_out(change)
    return kept


def _taken_out(change: Change) -> list[Change]:
    now = change.before
    if now is None:
        return []
    if now.content is not None and debian_pam.remembers(change.path):
        new = debian_pam.forgotten(now.content)
    elif now.content is not None and os.path.dirname(change.path) == "/etc/pam.d":
        new = pam_edit.without_lines(now.content)
    else:
        raise SetupError(change.path, "was changed by somebody else since; change it back, or remove it, by hand")
    return [Change(change.path, now, now._replace(content=new))] if new != now.content else []


def rollback(changes: Sequence[Change]) -> list[str]:
    """Carry out an `undo_plan`; sentences about what else was done. What was there is kept in the file `REVERTED`."""
    with Journal(STATE) as journal:
        _sweep(journal.paths())
        plan.carry_out(changes)
        journal.close(keep_as=REVERTED, undone=changes)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{PENDING}/{MADE}")
        log(events.SETUP_CHANGED, f"took back what 'pyhome setup' had done: {_paths(changes)}")
    return _start(changes)


def when() -> float | None:
    """When something was last changed that can be undone, in seconds since 1970; None if there is nothing."""
    try:
        return os.stat(f"{STATE}/journal").st_mtime
    except FileNotFoundError:
        return None
