"""Every exception that pyhome raises on purpose: facts in fields, no advice. Front ends choose the words."""

from __future__ import annotations


class PyhomeError(Exception):
    """The root. `exit_code` is what the command line exits with; each class has its own and keeps it for ever."""

    exit_code = 1


class _AboutThing(Exception):  # noqa: N818 - a part of errors, and none by itself
    """`what` it happened to, and the `reason`."""

    def __init__(self, what: str, reason: str) -> None:
        """Keep both facts."""
        super().__init__(f"{what}: {reason}")
        self.what = what
        self.reason = reason


class _AboutPath(Exception):  # noqa: N818 - as above
    """The `path` that it happened to, and the `reason`; `detail` may be empty."""

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        """Keep the facts."""
        super().__init__(f"{path}: {reason}{': ' if detail else ''}{detail}")
        self.path = path
        self.reason = reason
        self.detail = detail


class _AboutUser(Exception):  # noqa: N818 - as above
    """The `user` whom it is about, and the `reason`; `detail` may be empty."""

    def __init__(self, user: str, reason: str, detail: str = "") -> None:
        """Keep the facts."""
        super().__init__(f"{user}: {reason}{': ' if detail else ''}{detail}")
        self.user = user
        self.reason = reason
        self.detail = detail


class _Reason(Exception):  # noqa: N818 - as above
    """The `reason` says all."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class _OfUser(Exception):  # noqa: N818 - as above
    """Says the `sentence` of the `user`, and there is no more to know."""

    sentence = ""

    def __init__(self, user: str) -> None:
        """Keep whom it is about."""
        super().__init__(self.sentence.format(user=user))
        self.user = user


class FormatError(_AboutThing, PyhomeError):
    """Bytes that are not what they should be: `what` names the format, `reason` the defect."""

    exit_code = 10


class UnknownVersionError(FormatError):
    """A format of a version that this program does not know."""

    exit_code = 11

    def __init__(self, what: str, version: int) -> None:
        """Keep the version found."""
        super().__init__(what, f"version {version} is not known")
        self.version = version


class PassphraseLengthError(PyhomeError):
    """A passphrase outside the format's limits, or with a NUL in it: `role` says which, `length` is in bytes."""

    exit_code = 12

    def __init__(self, role: str, length: int) -> None:
        """Keep the role and the length."""
        super().__init__(f"the {role} has {length} bytes; it must have 1 to 64, none of them NUL")
        self.role = role
        self.length = length


class WrongPassphraseError(PyhomeError):
    """The passphrase does not open the wrapped file (or what came out is not the home's mount passphrase)."""

    exit_code = 13

    def __init__(self, reason: str = "the passphrase does not open the home") -> None:
        """Keep the reason."""
        super().__init__(reason)


class UnprovedError(_AboutThing, PyhomeError):
    """Nobody but whoever can write it speaks for the key file `what`: the `reason`."""

    exit_code = 48


class WireError(PyhomeError):
    """The other end of the shim's socket broke the protocol or went away."""

    exit_code = 14


class UnsafeFileError(_AboutPath, PyhomeError):
    """A file that must not be believed: `path` and `reason` (a link, a foreign owner, too large, not regular)."""

    exit_code = 15


class HomeBusyError(PyhomeError):
    """Processes still use the home: `holders`, a line each. `partly_locked`: what they do not use is locked already."""

    exit_code = 16

    def __init__(self, mountpoint: str, holders: tuple[str, ...], *, partly_locked: bool = False) -> None:
        """Keep the facts."""
        super().__init__(f"{mountpoint} is busy")
        self.mountpoint = mountpoint
        self.holders = holders
        self.partly_locked = partly_locked

    @property
    def state(self) -> str:
        """What the log says of the home meanwhile."""
        return "is only partly locked" if self.partly_locked else "stays open"


class StorageError(_AboutThing, PyhomeError):
    """The home's storage is not there or not usable: `what` and the `reason`."""

    exit_code = 17


class SshdError(_AboutThing, PyhomeError):
    """sshd's configuration is not usable, or would not do what is needed: `what` (a file, a line, a keyword) and the `reason`."""

    exit_code = 18


class LoginShellError(_AboutUser, PyhomeError):
    """A login shell that is not changed: whose, and the `reason`, a constant of `admin.login_shell`; `detail` may be empty."""

    exit_code = 19


class SetupError(_AboutThing, PyhomeError):
    """The machine cannot be made ready, or made what it was: `what` (a file, a service) and the `reason`."""

    exit_code = 60


class OldPolicyError(PyhomeError):
    """The directory at `path` is encrypted with an fscrypt policy of version 1, whose keys live in keyrings."""

    exit_code = 20

    def __init__(self, path: str) -> None:
        """Keep the path."""
        super().__init__(f"{path}: its fscrypt policy is of version 1, which is not supported")
        self.path = path


class CreateError(_AboutUser, PyhomeError):
    """A home that is not made: whose, and the `reason`, a constant of `admin.creation_facts`; `detail` may be empty."""

    exit_code = 30


class NoHomeError(_OfUser, PyhomeError):
    """The user has no encrypted home."""

    exit_code = 40
    sentence = "{user} has no encrypted home"


class NoUserError(_OfUser, PyhomeError):
    """There is no such user, or only one of the system."""

    exit_code = 41
    sentence = "there is no user {user}"


class SharedUidError(_AboutUser, PyhomeError):
    """A `user` whose uid others have, too: the `reason` names them."""

    exit_code = 49


class NotAllowedError(_OfUser, PyhomeError):
    """What was asked for is about somebody else, and only root may do that."""

    exit_code = 42
    sentence = "the home of {user} is not yours"


class DaemonError(PyhomeError):
    """pyhomed cannot be asked, or did not answer as it should: the `reason`."""

    exit_code = 43

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(f"pyhomed: {reason}")
        self.reason = reason


class HomeInUseError(PyhomeError):
    """The home of `user` is not locked because of its `sessions`, one line each."""

    exit_code = 44

    def __init__(self, user: str, sessions: tuple[str, ...]) -> None:
        """Keep both."""
        super().__init__(f"the home of {user} is in use by sessions")
        self.user = user
        self.sessions = sessions


class HomeElsewhereError(PyhomeError):
    """Another process has been at work on the home of `user` for too long: `doing` says what it does."""

    exit_code = 45

    def __init__(self, user: str, doing: str = "opening or locking") -> None:
        """Keep both facts."""
        super().__init__(f"another process is {doing} the home of {user}")
        self.user = user
        self.doing = doing


class PasswordUnchangedError(_AboutUser, PyhomeError):
    """The password of `user` is as it was: the `reason`."""

    exit_code = 46


class NoAnswerError(_Reason, PyhomeError):
    """A password was needed, and none was given: the `reason`."""

    exit_code = 47


class UnfitHomeError(PyhomeError):
    """Files of the home, or what is mounted in it, keep it from being copied: `obstacles`, a line each."""

    exit_code = 70

    def __init__(self, user: str, obstacles: tuple[str, ...]) -> None:
        """Keep both."""
        super().__init__(f"the home of {user} cannot be copied: {'; '.join(obstacles)}")
        self.user = user
        self.obstacles = obstacles


class SpaceError(PyhomeError):
    """The file system at `where` has less room than a copy of the home needs: both as text."""

    exit_code = 71

    def __init__(self, where: str, needed: str, free: str) -> None:
        """Keep the facts."""
        super().__init__(f"{where} has {free} free, {needed} are needed")
        self.where, self.needed, self.free = where, needed, free


class CopyError(_AboutThing, PyhomeError):
    """The files could not be copied: the `reason`, as the program that copies says it."""

    exit_code = 72


class CopyDiffersError(PyhomeError):
    """The copy is not what was copied: `differences`, a line each, and how many there are."""

    exit_code = 73

    def __init__(self, what: str, differences: tuple[str, ...], count: int) -> None:
        """Keep the facts."""
        super().__init__(f"{what}: {count} differences: {'; '.join(differences)}")
        self.what = what
        self.differences = differences
        self.count = count


class ConversionError(_AboutUser, PyhomeError):
    """What was asked for does not fit what was begun: the `reason` is of `admin.conversion_facts`; `detail` may be empty."""

    exit_code = 74


class LoginPasswordError(_AboutUser, PyhomeError):
    """What was given is not the login password of `user`, or the user has none: the `reason`."""

    exit_code = 75


class NotOpenedError(_OfUser, PyhomeError):
    """The encrypted home of `user` has not been opened by a login yet."""

    exit_code = 76
    sentence = "the encrypted home of {user} has not been opened yet"


class HomeChangesError(_OfUser, PyhomeError):
    """The home of `user` was changed again and again while it was copied."""

    exit_code = 77
    sentence = "the home of {user} changes all the time"


class UpdateError(_AboutUser, PyhomeError):
    """The home of `user` is not changed as was asked: the `reason`, a constant of `backends.update_facts`."""

    exit_code = 50


class RemoveError(_AboutUser, PyhomeError):
    """What belongs to `user` is not removed: the `reason`, a constant of `admin.removal_facts`; `detail` may be empty."""

    exit_code = 51


class AdoptError(_AboutUser, PyhomeError):
    """The home of `user` is not adopted: the `reason`, a constant of `admin.adoption_facts`; `detail` may be empty."""

    exit_code = 52


class RecoveryKeyError(PyhomeError):
    """What was given for a recovery key is none: the `reason`, which names the groups that are mistyped."""

    exit_code = 80

    def __init__(self, user: str, reason: str) -> None:
        """Keep whose it should be, and the reason."""
        super().__init__(f"this is no recovery key: {reason}")
        self.user = user
        self.reason = reason


class OtherKeyError(_OfUser, PyhomeError):
    """A recovery key that is one, but does not open the home of `user`."""

    exit_code = 81
    sentence = "this recovery key does not open the home of {user}"


class RestoreError(_AboutThing, PyhomeError):
    """The copy `what` is not put back: the `reason`."""

    exit_code = 82


class NothingFoundError(_AboutPath, PyhomeError):
    """There is no encrypted home of another installation at `path`, or it cannot be looked at: the `reason`."""

    exit_code = 90


class PlaceError(_AboutPath, PyhomeError):
    """The directory at `path` is not one that a home is opened at, or was: the `reason`, a constant of `admin.salvage_facts`."""

    exit_code = 91


class KeyFilesLostError(_AboutPath, PyhomeError):
    """Without files that are not to be found, nothing opens the home at `path`: the `reason` names them."""

    exit_code = 92


class QrCodeError(_Reason, PyhomeError):
    """There is no QR code of a recovery key, because of the `reason`."""

    exit_code = 93


class RecoveryFileError(_AboutPath, PyhomeError):
    """The file that a recovery key is to be written to is not made: its `path` and the `reason`."""

    exit_code = 94


class TrustError(_AboutPath, PyhomeError):
    """What is mounted at `path` is not approved for keys, or no longer: the `reason`, a constant of `admin.approving`."""

    exit_code = 95
