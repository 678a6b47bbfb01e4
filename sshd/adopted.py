"""The keys, outside of homes, of somebody who has another name or uid now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pam_pyhome.admin import accounts
from pam_pyhome.admin.plan import Change, observe
from pam_pyhome.sshd import layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pam_pyhome.admin.adoption_record import Record


def changes(record: Record) -> list[Change]:
    """Their key file gets their name, if nobody has the old one and root is certain of it; and names their uid."""
    return [change for template in layout.TEMPLATES for change in _changes(record, template)]


def _changes(record: Record, template: str) -> Iterator[Change]:
    user = record.account.name
    old, new = (layout.path_of(template, name) for name in (record.name, user))
    if old is None or new is None:
        return
    before, mine = observe(old), observe(new)
    if old != new and (mine is not None or not record.certain or accounts.look_up(record.name) is not None):
        return
    if before is None or before.content is None:
        return
    after = before._replace(content=layout.of_uid(before.content, record.uid, record.account.uid))
    if old != new:
        yield Change(new, None, after)
        yield Change(old, before, None)
    elif after != before:
        yield Change(new, before, after)
