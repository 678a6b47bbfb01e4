"""Every sentence that a person at a login prompt may read: what happened, to whose home, and one way forward.

The journal has the details; these have none that a stranger should not see.
"""

from __future__ import annotations

from pam_pyhome.formats.words import quoted

PASSWORD_PROMPT = "Password: "
OWN_PASSPHRASE_PROMPT = "Passphrase of the encrypted home: "
OLD_PASSWORD_PROMPT = "Old password: "
PRESENT_PROMPT = "Present password of the home: "
NEW_PROMPT = "New password of the home: "
KEY_PROMPT = "Recovery key: "
PASSWORD_OR_KEY_PROMPT = "Password of the home, or its recovery key: "
OWN_NEW_PROMPT = "New passphrase of the home: "
LOGIN_PROMPT = "Login password: "
REPAIR_PROMPT = "[y/N] "


def locked(user: str) -> str:
    """The session starts without the home, and no password was seen that could open it."""
    return f"The encrypted home of {user} is locked; log in with the password to open it."


def not_opened(user: str) -> str:
    """The password was right, but the home's storage or key files are not usable."""
    return f"The encrypted home of {user} could not be opened; ask the administrator to look at the log."


def not_there(user: str) -> str:
    """Key files that opened a home are on record, and there is no encrypted home."""
    return f"The encrypted home of {user} is not there, as if its disk was not mounted; ask the administrator to mount it."


def of_another(user: str, uid: int, owner: str) -> str:
    """The home or its key files are another uid's, as after a new uid or on another machine."""
    return (
        f"The encrypted home of {user} belongs to {owner}, and {user} has uid {uid}, so it stays locked; "
        "ask the administrator to run 'pyhome adopt'."
    )


def cannot_follow(user: str) -> str:
    """After such a sentence, at a password change."""
    return f"The encrypted home of {user} could not follow, so the password was not changed."


def damaged(user: str) -> str:
    """The key file is truncated, corrupt or not this home's, and there is no good copy."""
    return f"The key file of {user}'s encrypted home is damaged, so the home stays locked; ask the administrator to restore it."


def old_policy(user: str) -> str:
    """The home is one that only pam_fscrypt opens; where it is there too, it does so after this."""
    return f"The encrypted home of {user} has an fscrypt policy of version 1, which pyhome leaves to pam_fscrypt."


def ask_old(user: str) -> str:
    """Before the prompt for the old password, after a reset."""
    return (
        f"The login password of {user} was changed, but the encrypted home still has the old one; "
        "please type that once, or the recovery key."
    )


def ask_repair(user: str) -> str:
    """Before the question whether the home is to have the login password, after the old one has been typed."""
    return f"Let the encrypted home of {user} open with the login password from now on?"


def old_wrong(user: str) -> str:
    """The old password was asked for and did not open the home either."""
    return f"That does not open the encrypted home of {user}, so it stays locked; you will be asked again at the next login."


def key_again(defect: str) -> str:
    """Before the prompt for the old password, once more: what was typed is a recovery key but for a slip."""
    return f"This recovery key is {defect}; please type it once more, or nothing to go on without the home."


def cannot_ask(user: str) -> str:
    """The home needs the old password, and this kind of login cannot ask for it."""
    return (
        f"The login password of {user} was changed, but the encrypted home still has the old one; "
        "log in on the console or with su, where it can be asked for."
    )


def own_passphrase_wrong(user: str) -> str:
    """The home has a passphrase of its own, and it was not this one."""
    return f"That is not the passphrase of {user}'s encrypted home, so it stays locked; log in again to try again."


def reset_by_root(user: str) -> str:
    """To root, who has just set a new password without knowing the old one."""
    return (
        f"Note: the encrypted home of {user} still opens with the old password only; "
        f"{user} will be asked for it at the next login."
    )


def old_does_not_open(user: str) -> str:
    """Before a password change: the present password is not that of the home."""
    return (
        f"This password does not open the encrypted home of {user}, so nothing was changed; "
        "log in once on the console to bring them together."
    )


def cannot_write(user: str) -> str:
    """Before a password change: no room, or a read-only file system."""
    return f"The key file of {user}'s encrypted home cannot be written, so nothing was changed; free some disk space and try again."


def rewrap_failed(user: str) -> str:
    """After the login password was changed already."""
    return (
        f"The login password was changed, but the encrypted home of {user} still has the old one; "
        "you will be asked for it at the next login."
    )


def others_left(user: str) -> str:
    """After a recovery key has given the home a new password; fscrypt only."""
    return f"Note: other encrypted directories of {user} open with the old password only; 'fscrypt unlock DIRECTORY' asks for it."


def beside(user: str, descriptor: str) -> str:
    """After a password change, to a user of fscrypt whose home is not encrypted: those directories are pam_fscrypt's."""
    return (
        f"Note: directories that {user} has encrypted with fscrypt and the login password follow it with pam_fscrypt only; "
        f"without it, 'fscrypt metadata change-passphrase --protector={quoted('/:' + descriptor)}' gives them the new one."
    )


def job_refused(user: str) -> str:
    """To cron and at, when the administrator chose that jobs wait for the home."""
    return f"The encrypted home of {user} is locked, and jobs are not run without it."


def ask_to_unlock(user: str) -> str:
    """To a connection that passed a public key, before the prompt."""
    return f"The encrypted home of {user} is locked."


def wrong_at_login(user: str) -> str:
    """The login went without a password, and what was typed for the home does not open it."""
    return f"That does not open the encrypted home of {user}, so it stays locked; 'pyhome unlock' asks again."


def wrong_password(user: str) -> str:
    """To the login-shell stub, before it asks again."""
    return f"That does not open the encrypted home of {user}; please try again."


def wrong_answer(user: str) -> str:
    """To the command line, which may ask again."""
    return f"That does not open the encrypted home of {user}."


def too_many_tries(user: str) -> str:
    """To the login-shell stub, which ends then."""
    return f"The encrypted home of {user} stays locked after three wrong passwords; log in again to try again."


def shared_uid(user: str, others: str) -> str:
    """To the login-shell stub of a user whose files are another's as well."""
    return (
        f"The encrypted home of {user} cannot be opened, because {others} has the same user id; "
        "ask the administrator to change one of them."
    )


def no_session(user: str) -> str:
    """To the login-shell stub of a login that PAM knows nothing of."""
    return (
        f"The encrypted home of {user} cannot be opened in this login, which has no PAM session of pyhome; "
        "ask the administrator to run `pam-auth-update`, and to set UsePAM in sshd_config."
    )
