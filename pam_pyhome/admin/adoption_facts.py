"""Why a home is not adopted: the reasons of `AdoptError`. Front ends have a piece of advice for each."""

from __future__ import annotations

from pam_pyhome.errors import AdoptError

SYSTEM_USER = "is not an ordinary user"
BAD_PLACE = "the home directory is not where root can work on it safely"
NOT_THERE = "the home directory is not there"
OPEN = "the home is open"
MOUNTED = "something is mounted in the home"
SEVERAL_NAMES = "more than one name may be the one from before"
SEVERAL_UIDS = "the home and what belongs to it are of several uids"
OTHERS_UID = "the uid that the home belongs to is another user's here"
OTHERS_THINGS = "what the home names belongs to another user here"
TAKEN = "there is something in that place already"
NO_KEYS = "what opens the home is not on this machine"


class UnfinishedError(AdoptError):
    """What `verb` began with the home of `user` is not finished: then it was that of `name`, with this `uid` and `home`."""

    def __init__(self, user: str, verb: str, name: str, uid: int, home: str) -> None:
        """Keep what was begun, and the account as it was."""
        super().__init__(user, f"what 'pyhome {verb}' has begun is not finished", f"with {home} of {name}, uid {uid}")
        self.verb, self.name, self.uid, self.home = verb, name, uid, home
