"""Making an encrypted home, with an account around it if there is none.

The home is made, filled and locked where nobody looks, and takes its place with one rename. A new account comes after its home
and gets its password last; an account that exists finds its home complete or not at all. What takes each step back is on disk
before the step is done, see `creation_record`. So a kill leaves no account without a home and nothing that looks like a home and is
none; and the next `create` takes back what was begun, or does the little that was missing.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome import events
from pam_pyhome.admin import account_tools, creation_build, fscrypt_costs, new_account, places, removal_record
from pam_pyhome.admin import creation_facts as facts
from pam_pyhome.admin.accounts import look_up
from pam_pyhome.admin.creation_choice import FSCRYPT, choose
from pam_pyhome.admin.creation_record import Begun, Records, find, users, where_missing
from pam_pyhome.backends import ecryptfs_store, kept, registry
from pam_pyhome.errors import CreateError, PyhomeError, WrongPassphraseError
from pam_pyhome.formats.recovery import SIZE, emit_recovery
from pam_pyhome.kernel.log import log
from pam_pyhome.policy.users import uid_min

if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.admin.new_account import Wishes
    from pam_pyhome.backends.base import Account


class Plan(NamedTuple):
    """What is to be made: whose home, of which kind; whether the account is new, whether it needs a password, what it is like."""

    account: Account
    backend: str
    new: bool
    needs_password: bool
    wishes: Wishes


class Made(NamedTuple):
    """What was made; `finished` if an earlier run had made all but the end of it."""

    account: Account
    backend: str
    new: bool
    finished: bool

    @property
    def elsewhere(self) -> str:
        """Where its files are, if that is not the file system that the home directory is on."""
        if self.backend == FSCRYPT:
            return ""
        storage = ecryptfs_store.storage_of(self.account)
        return storage if os.stat(storage).st_dev != os.stat(self.account.home).st_dev else ""


def check(user: str, backend: str | None, wishes: Wishes) -> None:
    """CreateError if no home can be made. Changes nothing; what an earlier run has left is for `create` to look at."""
    if find(user) is None:
        _plan(user, backend, wishes)


def create(user: str, backend: str | None, password: bytes, wishes: Wishes, show: Callable[[str], None]) -> Made:
    """Make the home of `user`, and the account if there is none. `show` is given the recovery key before anybody can use the home.

    `backend`: `fscrypt` or `ecryptfs`; None takes what the file system can do. CreateError and other PyhomeErrors, OSError: nothing
    has changed then, but for what `fscrypt setup` would do to the machine.
    """
    account_tools.check_password(user, password)
    with Records() as records:
        for other in users():
            _clean(records, find(other), user)
        begun = find(user)
        if begun is not None:
            return _finish(records, begun, password)
        plan = _plan(user, backend, wishes)
        if not plan.new and not plan.needs_password:
            account_tools.check_login(user, password)
        _make(records, plan, password, show)
        log(events.CREATED, plan.backend, plan.account)
        return Made(plan.account, plan.backend, plan.new, finished=False)


# Before


def _plan(user: str, backend: str | None, wishes: Wishes) -> Plan:
    """What is to be made. CreateError if nothing can be."""
    known = look_up(user)
    if removal_record.find(user) is not None:
        raise CreateError(user, facts.BEING_REMOVED)
    if known is None:
        account, needs = account_tools.planned(user, wishes.uid), True
    else:
        account, needs = known, account_tools.has_password(user) is False
        check_user(account)
    new_account.check(user, wishes, new=known is None)
    parent = check_parent(account)
    _check_place(account)
    if known is not None and kept.names(account):
        raise CreateError(user, facts.NOT_SEEN, kept.place_of(account))
    return Plan(account, choose(user, backend, parent), known is None, needs, wishes)


def check_user(account: Account) -> None:
    """CreateError unless it is an ordinary one, whose name can be that of a file."""
    if account.uid < uid_min() or "/" in account.name or account.name.startswith("."):
        raise CreateError(account.name, facts.SYSTEM_USER, f"uid {account.uid}")


def check_parent(account: Account) -> str:
    """The directory that the home is in. CreateError unless all directories on the way to it are root's alone."""
    trouble = places.trouble_above(account.home)
    if trouble is None and os.path.lexists(ecryptfs_store.SHARED):
        trouble = places.trouble_above(ecryptfs_store.storage_of(account))
    if trouble is not None:
        raise CreateError(account.name, facts.BAD_PLACE, trouble)
    return os.path.dirname(account.home)


def _check_place(account: Account) -> None:
    """Nothing is where the home belongs, or an empty directory that is not encrypted."""
    found = registry.find(account)
    if found is not None and look_up(account.name) is not None:
        raise CreateError(account.name, facts.ENCRYPTED, found.name)
    if os.path.lexists(ecryptfs_store.storage_of(account)):
        raise CreateError(account.name, facts.LEFT_OVER, ecryptfs_store.storage_of(account))
    try:
        if not stat.S_ISDIR(os.lstat(account.home).st_mode):
            raise CreateError(account.name, facts.NOT_A_DIRECTORY, account.home)
        if os.listdir(account.home):
            raise CreateError(account.name, facts.HAS_FILES, account.home)
    except FileNotFoundError:
        pass


# What earlier runs left


def _is_usable(begun: Begun) -> bool:
    """Whether somebody may be using what was begun, so that nothing of it is to be taken back."""
    if begun.new:
        found = look_up(begun.account.name)
        return found is not None and (found.uid != begun.account.uid or account_tools.is_whole(begun.account.name))
    return begun.decided and not os.path.lexists(creation_build.staged_home(begun.account))


def _clean(records: Records, begun: Begun | None, user: str) -> None:
    """Take back what a killed run has left, unless it is in use or, being that of `user`, can be finished."""
    if begun is None:
        return
    account = begun.account
    trouble = where_missing(begun)
    if trouble is not None:
        if account.name == user:
            raise CreateError(user, facts.NOT_THERE, trouble)
        return  # its turn comes when that is back
    if not _is_usable(begun):
        with contextlib.nullcontext() if account.name == user else contextlib.suppress(OSError, PyhomeError):
            if begun.new:
                account_tools.remove(account, records.lock)
            records.take_back(account.name)
    elif not begun.decided or (begun.new and not _is_ours(begun)):
        records.forget(account.name)  # somebody has made an account of this name meanwhile
    elif account.name != user and account_tools.has_password(account.name):
        records.forget(account.name)


def _is_ours(begun: Begun) -> bool:
    found = look_up(begun.account.name)
    return found is not None and found.uid == begun.account.uid


def _finish(records: Records, begun: Begun, password: bytes) -> Made:
    """Everything is in its place; perhaps the account's password is missing, which must be the one that opens the home."""
    account = begun.account
    if account_tools.has_password(account.name) is False:
        try:
            registry.named(begun.backend).unlock(account, password, exact=True)
        except WrongPassphraseError:
            raise CreateError(account.name, facts.UNFINISHED) from None
        account_tools.set_password(account.name, password, records.lock)
    records.forget(account.name)
    log(events.CREATED, begun.backend, account)
    return Made(account, begun.backend, begun.new, finished=True)


# The work


def _make(records: Records, plan: Plan, password: bytes, show: Callable[[str], None]) -> None:
    """From beginning to end; if anything goes wrong, back again."""
    account, user = plan.account, plan.account.name
    recovery = emit_recovery(os.urandom(SIZE))
    costs = fscrypt_costs.costs() if plan.backend == FSCRYPT else None
    try:
        where = places.note(*creation_build.where_all(account, plan.backend))
        records.begin(account, plan.backend, where, new=plan.new)
        creation_build.build(records, account, password, recovery, costs)
        creation_build.note_places(records, account, plan.backend)
        if plan.new:
            creation_build.place(account, plan.backend)
        show(recovery)
        with account_tools.uninterrupted():
            _hand_over(records, plan, password)
    except BaseException:
        # What cannot be taken back now stays on record, and the first failure is the one to tell.
        with contextlib.suppress(OSError, PyhomeError):
            records.take_back(user)
        raise


def _hand_over(records: Records, plan: Plan, password: bytes) -> None:
    """The last steps, from where on the home may be in use. If one fails, the account is as it was."""
    account = plan.account
    records.decide(account.name)
    if plan.new:
        account_tools.add(account, plan.wishes, records.lock)
    else:
        creation_build.place(account, plan.backend)
    try:
        if plan.needs_password:
            account_tools.set_password(account.name, password, records.lock)
    except (CreateError, OSError):
        if plan.new:
            account_tools.remove(account, records.lock)
        raise
    # So that `authenticate` believes the key file, and that it can be put back. If it fails, the first login does it.
    with contextlib.suppress(OSError, PyhomeError):
        backend = registry.named(plan.backend)
        backend.approve(account, password)
        backend.remember(account, backend.unlock(account, password, exact=True))
    with contextlib.suppress(OSError):  # all is done; the next run removes a record that stays
        records.forget(account.name)
