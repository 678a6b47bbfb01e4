"""Why a home is not adopted: the reasons of `AdoptError`. Front ends have a piece of advice for each."""

from __future__ import annotations

SYSTEM_USER = "is not an ordinary user"
BAD_PLACE = "the home directory is not where root can work on it safely"
NOT_THERE = "the home directory is not there"
OPEN = "the home is open"
MOUNTED = "something is mounted in the home"
UNFINISHED = "something that was begun with the home is not finished"
SEVERAL_NAMES = "more than one name may be the one from before"
SEVERAL_UIDS = "the home and what belongs to it are of several uids"
OTHERS_UID = "the uid that the home belongs to is another user's here"
OTHERS_THINGS = "what the home names belongs to another user here"
TAKEN = "there is something in that place already"
NO_KEYS = "what opens the home is not on this machine"
