"""``pyhome create``: a user with an encrypted home, or the home alone."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, NoReturn

import click

from pam_pyhome.admin import creation
from pam_pyhome.admin import creation_facts as facts
from pam_pyhome.admin.accounts import look_up
from pam_pyhome.admin.creation_choice import has_ecryptfs
from pam_pyhome.admin.fscrypt_costs import PATH as COSTS
from pam_pyhome.admin.new_account import Wishes
from pam_pyhome.admin.password_quality import weakness
from pam_pyhome.cli import homes_text, options, plans, recovery_show
from pam_pyhome.cli.advice import one_line
from pam_pyhome.cli.answers import answers
from pam_pyhome.cli.failure import CommandError, insist_on_root, reported
from pam_pyhome.cli.recovery_show import Keeper, show_key
from pam_pyhome.cli.streams import OutputError
from pam_pyhome.cli.usage import RootCommand
from pam_pyhome.errors import (
    CreateError,
    FormatError,
    NoAnswerError,
    PasswordUnchangedError,
    QrCodeError,
    RecoveryFileError,
    StorageError,
    UnsafeFileError,
)
from pam_pyhome.formats.fscrypt_conf import CONF
from pam_pyhome.formats.fscrypt_meta import PROTECTOR
from pam_pyhome.formats.words import quoted
from pam_pyhome.policy.failures import failure_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADVICE = {
    facts.BAD_NAME: "use up to 32 small letters, digits, '-' and '_', and begin with a letter",
    facts.SYSTEM_USER: "name another user",
    facts.GROUP_EXISTS: "choose another name, or remove the group with 'groupdel'",
    facts.HAS_ACCOUNT: "leave out --shell, --uid, --comment and --groups, and use 'usermod'",
    facts.TAKEN: "give another one with --uid, or leave that out",
    facts.NO_GROUP: "make it with 'groupadd', or leave it out",
    facts.BAD_SHELL: "give the path of one that /etc/shells lists",
    facts.BAD_COMMENT: "give another one with --comment",
    facts.BAD_PLACE: "make the directory that homes are in, for root alone to write, or change the path with 'usermod --home'",
    facts.NOT_THERE: "mount its disk as it was, then give this again",
    facts.NOT_SEEN: "mount its disk; if it is gone for good, move these copies away",
    facts.NOT_A_DIRECTORY: "move it away",
    facts.ENCRYPTED: "there is nothing to do",
    facts.LEFT_OVER: "if nobody needs it any more, remove it",
    facts.NO_FILE_SYSTEM: "put homes on ext4 or f2fs",
    facts.NO_KERNEL: "boot a kernel with CONFIG_FS_ENCRYPTION",
    facts.NO_ECRYPTFS: "install one that has, or use '--backend fscrypt'",
    facts.NEITHER: "put homes on ext4 or f2fs, or install a kernel with eCryptfs",
    facts.BAD_PASSWORD: "choose another one",
    facts.WRONG_PASSWORD: "give the one that the user logs in with",
    facts.OTHER_PROTECTOR: "set it to the login password with 'fscrypt metadata change-passphrase', or remove it",
    facts.BEING_REMOVED: "give 'pyhome remove' again first, which finishes that",
    facts.UNFINISHED: "give that one, or remove the account and its home with 'userdel --remove' and start again",
    facts.TOOL_FAILED: "see what it says",
}


@click.command(cls=RootCommand, help="Make an encrypted home for USER, and the account if there is none.")
@options.USER
@options.BACKEND
@click.option("--shell", metavar="PATH", help="The login shell of a new account. Default: as useradd has it.")
@click.option("--uid", type=int, metavar="NUMBER", help="The user id of a new account. Default: the next one.")
@click.option("--comment", metavar="TEXT", help="The comment of a new account, as the person's full name.")
@click.option("--groups", metavar="NAME,NAME", help="Further groups of a new account.")
@options.PASSWORD_FILE
@recovery_show.QR
@recovery_show.FILE
@options.YES
@options.JSON
def create(
    user: str, backend: str | None, uid: int | None, shell: str | None, comment: str | None, groups: str | None,
    password_file: str | None, recovery_file: str | None, *, qr: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make a home."""
    insist_on_root("makes homes for others")
    recovery_show.check_options(qr=qr, as_json=as_json)
    keeper = Keeper(user, recovery_file, qr=qr)
    wishes = Wishes(uid, shell, comment, tuple(filter(None, (groups or "").split(","))))

    def show(recovery: str) -> None:
        show_key(user, recovery, as_json=as_json)
        keeper.show(recovery, quiet=as_json)

    with _reported(user, keeper):
        keeper.check()
        creation.check(user, backend, wishes)
        password = _password(user, password_file)
        end_properly()
        made = creation.create(user, backend, password, wishes, show)
    keeper.remind()
    _warn_of_weakness(user, password)
    if as_json:
        plans.print_json(_described(made))
        return
    what = "account and home are" if made.new else "home is"
    earlier = " from what an earlier run had begun" if made.finished else ""
    place = f"{made.account.home} is encrypted with {made.backend}, opens at login, and is locked now"
    files = f"; its files are in {made.elsewhere}, on another file system" if made.elsewhere else ""
    click.echo(one_line(f"{user}: the {what} made{earlier}; {place}{files}"))


def _described(made: creation.Made) -> dict[str, object]:
    account = made.account
    return {
        "user": account.name,
        "uid": account.uid,
        "home": account.home,
        "backend": made.backend,
        "account_made": made.new,
        "resumed": made.finished,
    }


def _password(user: str, path: str | None) -> bytes:
    """The first line of a file, or of the standard input, or what somebody types twice. NoAnswerError."""
    try:
        return answers(path).ask(f"Login password of {user}", new=True) or b""
    except PasswordUnchangedError as error:
        raise NoAnswerError(error.reason) from None


def _warn_of_weakness(user: str, password: bytes) -> None:
    weak = weakness(user, password)
    if weak:
        line = f"note: the password is weak: {weak}; whoever gets hold of the disk may guess it, 'passwd' changes it"
        click.echo(one_line(line), err=True)


def end_properly() -> None:
    """Take everything back when asked to end, as after Ctrl-C."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


@contextlib.contextmanager
def _reported(user: str, keeper: Keeper) -> Iterator[None]:
    """Turn what goes wrong into a CommandError; a recovery key that was shown by then opens nothing."""
    try:
        with reported(user):
            try:
                yield
            except NoAnswerError as error:
                raise CommandError(homes_text.failed(failure_of(error), user), error.exit_code) from error
            except (QrCodeError, RecoveryFileError) as error:
                raise CommandError(f"{user}: {recovery_show.failed(error)}", error.exit_code) from error
            except CreateError as error:
                detail = f" ({error.detail})" if error.detail else ""
                raise CommandError(f"{user}: {error.reason}{detail}; {advice(error)}", error.exit_code) from error
            except (FormatError, UnsafeFileError) as error:
                thing = error.what if isinstance(error, FormatError) else error.path
                path = COSTS if thing in (CONF, PROTECTOR, os.path.basename(COSTS)) else thing
                raise CommandError(f"{path}: {error.reason}; correct the file or remove it", error.exit_code) from error
            except StorageError as error:
                line = f"{user}: {error.what}: {error.reason}; nothing was changed, try again when that is repaired"
                raise CommandError(line, error.exit_code) from error
    except OutputError:
        keeper.discard()
        raise
    except CommandError as error:
        keeper.discard()
        if keeper.shown:
            void = "the recovery key above is void"
            error.args = (f"{error.args[0]}; {void}",)
            error.message = f"{error.message}; {void}"
        raise


def advice(error: CreateError) -> str:
    """One way forward."""
    if error.reason == facts.HAS_FILES:
        first = "" if look_up(error.user) else f"make the account with 'useradd {quoted(error.user)}', then "
        return f"{first}'pyhome encrypt {quoted(error.user)}' encrypts it with all of them"
    if error.reason == facts.NO_FEATURE:
        fstype, _, device = error.detail.partition(" on ")
        if fstype == "ext4":
            return f"switch it on with 'tune2fs -O encrypt {device}' and try again"
        return f"switch it on with the tools of {fstype}{_or_ecryptfs()}"
    other = _or_ecryptfs() if error.reason in (facts.NO_FILE_SYSTEM, facts.NO_KERNEL) else ""
    return f"{_ADVICE[error.reason]}{other}"


def _or_ecryptfs() -> str:
    """Only where that is no way back to here."""
    return ", or try '--backend ecryptfs'" if has_ecryptfs() else ", or install a kernel with eCryptfs"
