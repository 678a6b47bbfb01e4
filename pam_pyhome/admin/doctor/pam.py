"""Whether the PAM services reach pam_pyhome as they should: each cause once, with what to type about it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pam_pyhome.admin import pam_files, pam_plan
from pam_pyhome.admin.doctor import services
from pam_pyhome.admin.doctor.answers import Person
from pam_pyhome.admin.doctor.finding import FAIL, SKIP, WARN, Finding, edit
from pam_pyhome.formats import pam_stack
from pam_pyhome.formats.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pam_pyhome.admin.pam_files import Files

_NAMED_MAX = 3
_BY_LINES = {"pam.auth", "pam.account", "pam.session", "pam.password"}


def check(skipped: Sequence[str], person: Person | None = None) -> Iterator[Finding]:
    """What is wrong, once for each cause, and one finding for each service that is in order."""
    try:
        files = pam_files.read_all()
    except OSError as error:
        yield Finding(FAIL, "pam.files", str(error.filename), error.strerror or "cannot be read")
        return
    yield from _about_files(files)
    found = _causes(files, list(services.problems(files, skipped, person)))
    yield from _merged(list(pam_plan.cures(found)))
    for service in pam_files.services(files):
        if service in services.CHANGES:
            continue
        if service in skipped:
            yield Finding(SKIP, "pam.service", service, "is on the list of services that leave homes alone (skip_services)")
            continue
        whose = (person or Person(service))._replace(service=service)
        told = services.about_service(service, services.walk(files, service, whose))
        yield from (each for each in told if each.level not in (WARN, FAIL))
    yield from (each for each in services.about_changes(files, person) if each.level not in (WARN, FAIL))


def _about_files(files: Files) -> Iterator[Finding]:
    rules = [rule for name in sorted(files) if not pam_files.is_kept_aside(name) for rule in files[name]]
    for rule in rules:
        if rule.defect:
            text = f"{rule.defect}, so libpam refuses everybody there"
            yield Finding(FAIL, "pam.syntax", rule.place, text, edit(rule.file))
        elif rule.includes and rule.target not in files:
            text = f"includes {rule.target}, which is not there, so libpam refuses everybody there"
            yield Finding(FAIL, "pam.syntax", rule.place, text, edit(rule.file))
    for path in sorted({rule.file for rule in rules}):
        status = os.stat(path)
        if status.st_uid != 0 or status.st_mode & 0o022:
            text = f"belongs to uid {status.st_uid} with mode {status.st_mode & 0o7777:04o}: others than root can change it"
            yield Finding(FAIL, "pam.owner", path, text, f"chown root: {quoted(path)} && chmod 0644 {quoted(path)}")


def _causes(files: Files, found: Sequence[Finding]) -> list[Finding]:
    """Without what only follows from another finding."""
    checks = {(each.check, each.subject) for each in found}
    no_lines = any(each.check == "pam.lines" for each in found)
    deciding = {each.mend for each in found if each.check == "pam.bypass"}

    def follows(each: Finding) -> bool:
        if each.check in _BY_LINES and (no_lines or ("pam.refused", each.subject) in checks):
            return True
        if each.check == "pam.refused" and each.mend in deciding:
            return True
        return each.subject in files and _is_broken(files, each.subject)

    return [each for each in found if not follows(each)]


def _is_broken(files: Files, service: str) -> bool:
    """Whether libpam cannot read what a service asks for, so that nothing else about it counts."""
    return any(step.rule.defect for kind in pam_stack.KINDS for step in pam_stack.chain(files, service, kind))


def _merged(found: Sequence[tuple[Finding, str]]) -> Iterator[Finding]:
    """One finding for all services that the same is said of."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for each, mend in found:
        names = groups.setdefault((each.level, each.check, each.text, mend), [])
        if each.subject not in names:
            names.append(each.subject)
    for (level, check, text, mend), names in groups.items():
        first = sorted(names, key=lambda name: (name not in ("login", "sshd"), name not in services.LOGINS, name))
        more = len(first) - _NAMED_MAX
        subject = ", ".join(first if more <= 1 else first[:_NAMED_MAX]) + (f" and {more} more" if more > 1 else "")
        yield Finding(level, check, subject, text, mend)
