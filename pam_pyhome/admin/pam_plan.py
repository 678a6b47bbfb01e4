"""Which PAM files get which of our lines, on each distribution, so that what doctor finds is gone; and how they are taken out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin import debian_pam, pam_edit, pam_files
from pam_pyhome.admin.doctor import services
from pam_pyhome.admin.doctor.answers import PYHOME
from pam_pyhome.admin.doctor.finding import FAIL
from pam_pyhome.admin.plan import Change, Node, observe
from pam_pyhome.errors import PyhomeError, SetupError, UnsafeFileError
from pam_pyhome.formats import pam_stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pam_pyhome.admin.doctor.finding import Finding
    from pam_pyhome.admin.pam_files import Files
    from pam_pyhome.formats.pam_stack import Rule

DIRECTORY = "/etc/pam.d"
#: The files that the services of a distribution share, and the kinds of lines that belong there: Debian, Fedora, Arch.
_SHARED = (
    {
        "common-auth": ("auth",), "common-account": ("account",), "common-password": ("password",),
        "common-session": ("session",), "common-session-noninteractive": ("session",),
    },
    {"postlogin": ("auth", "password"), "password-auth": ("account", "session"), "system-auth": ("account", "session")},
    {"system-auth": ("auth", "account", "password", "session")},
)  # fmt: skip
_AUTHSELECT = "/etc/authselect/"
#: What other lines may cure.
_CURABLE = {
    "pam.lines", "pam.auth", "pam.account", "pam.session", "pam.password", "pam.order", "pam.twice", "pam.edited",
    "pam.refused", "pam.bypass",
}  # fmt: skip
_KINDS = {"pam.auth": "auth", "pam.account": "account", "pam.session": "session", "pam.password": "password"}
Troubles = dict[tuple[str, str], "Finding"]


def troubles(files: Files) -> Troubles:
    """What lines can be the cause of, by check and service."""
    return {(each.check, each.subject): each for each in services.problems(files) if each.check in _CURABLE}


def contents(changes: Sequence[Change]) -> dict[str, bytes | None]:
    """What a plan makes of the PAM files."""
    ours = [change for change in changes if os.path.dirname(change.path) == DIRECTORY]
    return {change.path: None if change.after is None else change.after.content for change in ours}


def left_by(changes: Sequence[Change]) -> Troubles:
    """What is still, or newly, wrong after a plan."""
    return troubles(pam_files.read_all(contents(changes)))


# Putting them in


def changes() -> list[Change]:
    """What the PAM files lack, by the means of the distribution. SetupError if nothing can be done about what is wrong."""
    now = troubles(pam_files.read_all())
    if not now:
        return []
    best: list[Change] = []
    least, reason = len(now), None
    for way in (_by_profile, _plain, _recounted):
        try:
            found = way()
            left = left_by(found)
        except PyhomeError as error:
            reason = error
            continue
        if len(left) < least and not any(each.level == FAIL and key not in now for key, each in left.items()):
            best, least = found, len(left)
    if best or all(each.level != FAIL for each in now.values()):
        return best
    if reason is not None:
        raise reason
    check, subject = next(key for key, each in now.items() if each.level == FAIL)
    raise SetupError(f"PAM service {subject}", f"would not do what it should: {now[check, subject].text}")


def by_hand() -> list[Change]:
    """The better one of the two plans that edit the files; nothing if neither is possible."""
    found: list[list[Change]] = [[]]
    for way in (_plain, _recounted):
        try:
            found.append(way())
        except (PyhomeError, OSError):
            continue
    return min(found, key=lambda each: len(left_by(each)))


def _by_profile() -> list[Change]:
    return debian_pam.changes(enabled=True) if debian_pam.is_in_charge() else []


def _plain() -> list[Change]:
    return _edited(recount=False)


def _recounted() -> list[Change]:
    return _edited(recount=True)


def _edited(*, recount: bool) -> list[Change]:
    files = pam_files.read_all()
    shared = next((each for each in _SHARED if set(each) & set(files) >= {*list(each)[:2]}), None)
    if shared is None:
        raise SetupError(DIRECTORY, "has no file that all services share; see pam_pyhome(8) for the lines and where they belong")
    found = []
    for name in (each for each in shared if each in files):
        path = f"{DIRECTORY}/{name}"
        now = _regular(path)
        assert now.content is not None
        kinds = [kind for kind in shared[name] if not pam_edit.stands_well(files, name, now.content, kind, _present)]
        bare = pam_edit.without_lines(now.content, kinds, recount=recount)
        new = pam_edit.with_lines(files, name, bare, kinds, _present)
        if new != now.content:
            found.append(Change(path, now, now._replace(content=new)))
    found += _of_services(files, found, recount=recount)
    return [*found, *debian_pam.remembered(found)]


def _of_services(files: Files, shared: Sequence[Change], *, recount: bool) -> Iterator[Change]:
    """The files of services that do not go by the shared ones, as far as they still lack a line."""
    after = pam_files.read_all(contents(shared))
    todo: dict[str, set[str]] = {}
    for check, service in left_by(shared):
        if check in _KINDS and service in files and pam_stack.chain(after, service, _KINDS[check]):
            todo.setdefault(service, set()).add(_KINDS[check])
    for service, kinds in todo.items():
        path = f"{DIRECTORY}/{service}"
        now = observe(path) if not os.path.islink(path) else None
        if now is not None and now.content is not None:
            wanted = [kind for kind in pam_stack.KINDS if kind in kinds]
            bare = pam_edit.without_lines(now.content, wanted, recount=recount)
            new = pam_edit.with_lines(after, service, bare, wanted, _present)
            if new != now.content:
                yield Change(path, now, now._replace(content=new))


def _present(rule: Rule) -> bool:
    return pam_files.module_path(rule.target) is not None


def _regular(path: str) -> Node:
    try:
        now = observe(path)
    except UnsafeFileError:
        if manager(path) is None:
            raise SetupError(path, "is a link; put the lines by hand where pam_pyhome(8) says") from None
        text = (
            "is a link, because authselect is in charge: put the lines into a profile of your own, as pam_pyhome(8) shows, "
            "or run 'authselect opt-out' and then 'pyhome setup'"
        )
        raise SetupError(path, text) from None
    if now is None or now.content is None:
        raise SetupError(path, "is not there; see pam_pyhome(8) for the lines and where they belong")
    return now


def manager(path: str) -> str | None:
    """``authselect`` if it has made this file."""
    return "authselect" if os.path.islink(path) and os.path.realpath(path).startswith(_AUTHSELECT) else None


def cures(found: Sequence[Finding]) -> Iterator[tuple[Finding, str]]:
    """The findings with what to type about each: ``pyhome setup`` where that would do it."""
    curable = [each for each in found if each.check in _CURABLE]
    left = left_by(by_hand()) if curable else {}
    links = any(manager(f"{DIRECTORY}/{name}") for shared in _SHARED for name in shared)
    for each in found:
        if each not in curable:
            yield each, each.mend
        elif (each.check, each.subject) not in left:
            yield each, "pyhome setup"
        elif links and each.mend == services.RELINE:
            yield each, "authselect opt-out && pyhome setup"
        else:
            yield each, services.editor_for(each)


# Taking them out


def out_of_everything() -> tuple[list[Change], list[str]]:
    """The plan that leaves no line with our module in any file, with logins as they were; and the files where that cannot be."""
    files = pam_files.read_all()
    named = sorted({rule.file for rules in files.values() for rule in rules if rule.module == PYHOME})
    paths = [path for path in named if os.path.dirname(path) == DIRECTORY and not pam_files.is_kept_aside(os.path.basename(path))]
    found: dict[str, Change] = {}
    for path in paths:
        for recount in (False, True):
            change = _bare(path, recount=recount)
            if change is not None and _let_in_as_before(files, {path: change.after.content if change.after else None}):
                found[path] = change
                break
    plan = list(found.values())
    return [*plan, *debian_pam.remembered(plan)], [path for path in paths if path not in found]


def _bare(path: str, *, recount: bool) -> Change | None:
    real = os.path.realpath(path)
    now = observe(real)
    if now is None or now.content is None:
        return None
    return Change(real, now, now._replace(content=pam_edit.without_lines(now.content, recount=recount, every=True)))


def _let_in_as_before(files: Files, instead: Mapping[str, bytes | None]) -> bool:
    """Whether the right password still lets in wherever it did, no wrong one does newly, and sessions and changes still work."""
    after = pam_files.read_all(instead)
    for name in pam_files.services(files):
        old, new = (services.walk(each, name) for each in (files, after))
        pairs = list(zip(old[:4], new[:4]))
        for was, now in (pairs[0], *pairs[2:]):
            if was.code == pam_stack.SUCCESS and now.code != pam_stack.SUCCESS and now.trail:
                return False
        if pairs[1][0].code != pam_stack.SUCCESS and pairs[1][1].code == pam_stack.SUCCESS:
            return False
    return True
