"""What people ask for about homes: root gets it done in this process, everybody else by pyhomed, and about their own home only."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, TypeVar

from pam_pyhome.admin import accounts, fscrypt_costs, remote
from pam_pyhome.backends import registry
from pam_pyhome.errors import NoHomeError, NotAllowedError, NoUserError, PasswordUnchangedError, PyhomeError
from pam_pyhome.formats import broker
from pam_pyhome.formats.broker import Request
from pam_pyhome.kernel.log import begin
from pam_pyhome.kernel.process import join_first_mount_namespace
from pam_pyhome.policy import verbs
from pam_pyhome.policy.failures import failure_of
from pam_pyhome.policy.users import uid_min

if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.backends.base import Account
    from pam_pyhome.formats.facts import Failure, HomeFacts
    from pam_pyhome.policy.verbs import Talk

    Outcome = tuple[bool, HomeFacts]

Result = TypeVar("Result")

PASSWD = "/usr/bin/passwd"


class FailedError(Exception):
    """It was not done. The `failure` is the same whether this process or pyhomed failed; `user` is whom it is about."""

    def __init__(self, failure: Failure, user: str) -> None:
        """Keep both."""
        super().__init__(failure.reason)
        self.failure = failure
        self.user = user


def perform(user: str | None, request: Request, talk: Talk) -> Outcome:
    """Have it done for `user`, by default for whoever runs this process. FailedError."""
    try:
        account = accounts.find(user)
    except NoUserError as error:
        raise FailedError(failure_of(error), user or "") from error
    return _caught(account.name, lambda: _perform(account, request, talk))


def whose(user: str | None) -> str:
    """The name of whoever runs this process. FailedError if there is none, or `user` is somebody else."""
    try:
        account = accounts.find(None)
        if user not in {None, account.name}:
            raise NotAllowedError(user or "")
    except PyhomeError as error:
        raise FailedError(failure_of(error), user or "") from error
    return account.name


def sync_own_keys(user: str, talk: Talk) -> bool:
    """Have the SSH keys of whoever runs this process carried to where sshd finds them; whether they were others. FailedError."""
    return _caught(user, lambda: remote.sync(talk))


def _caught(user: str, action: Callable[[], Result]) -> Result:
    """What `action` gives, with its errors as FailedError."""
    try:
        return action()
    except remote.RefusedError as error:
        raise FailedError(error.failure, user) from error
    except (PyhomeError, OSError) as error:
        raise FailedError(failure_of(error), user) from error


def _perform(account: Account, request: Request, talk: Talk) -> Outcome:
    if os.geteuid() != 0:
        if account.uid != os.getuid():
            raise NotAllowedError(account.name)
        return remote.perform(request, talk)
    if account.uid < uid_min():
        raise NoHomeError(account.name)
    be_root()
    if request.changes & broker.RENEW_COSTS:
        _measure(account)
    return verbs.perform(account, request, os.getpid(), talk, vouched=True)


def _measure(account: Account) -> None:
    """Have it said what the passwords of fscrypt homes cost, if that was never measured here."""
    found = registry.find(account)
    if found is not None and found.name == "fscrypt":
        fscrypt_costs.costs()


def be_root() -> None:
    """Where homes are mounted, with the log where that of logins is."""
    begin("pyhome")
    join_first_mount_namespace()


def everybody(talk: Talk) -> list[HomeFacts]:
    """For root, all homes that are encrypted; for others their own, if it is. FailedError."""
    people = accounts.people() if os.geteuid() == 0 else [accounts.find(None)]
    found = []
    for account in people:
        try:
            _, facts = perform(account.name, Request(broker.SHOW), talk)
        except FailedError as error:
            if error.failure.kind != NoHomeError.__name__:
                raise
        else:
            found.append(facts)
    return found


def change_both_passwords(facts: HomeFacts, lines: tuple[bytes, bytes] | None, talk: Talk) -> Outcome:
    """Change the login password, and with it that of the home which follows it, as passwd(1) does. FailedError.

    `lines`: the present and the new password; without them, passwd asks on the terminal.
    """
    return _caught(facts.user, lambda: _change_both(facts, lines, talk))


def _change_both(facts: HomeFacts, lines: tuple[bytes, bytes] | None, talk: Talk) -> Outcome:
    if os.getuid() != facts.uid:
        raise PasswordUnchangedError(facts.user, "the home follows the login password, and only its owner can change both at once")
    said = None if lines is None else b"\n".join((lines[0], lines[1], lines[1], b""))
    ran = subprocess.run([PASSWD], input=said, stdout=2, check=False)
    if ran.returncode != 0:
        raise PasswordUnchangedError(facts.user, f"{PASSWD} ended with status {ran.returncode}")
    return True, perform(facts.user, Request(broker.SHOW), talk)[1]
