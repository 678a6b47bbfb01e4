"""Why a home is not removed: the reasons of `RemoveError`. Front ends have a piece of advice for each."""

from __future__ import annotations

SYSTEM_USER = "is not an ordinary user"
BAD_PLACE = "the home directory is not where a home is safe to remove"
NOT_THERE = "what is being removed is not there"
NOT_SEEN = "neither the home nor what belongs to it is on a file system that is mounted"
NOT_OWN = "the home directory belongs to somebody else"
SHARED = "shares the uid or the home directory with somebody else"
MOUNTED = "something is mounted in the home"
FROZEN = "something in it is immutable or can only be appended to"
CONVERTED = "another copy of the home is kept from 'encrypt' or 'decrypt'"
BEING_MADE = "the home was begun by 'create' and not finished"
WHOSE = "there is no such user any more, and whose these leftovers are cannot be told"
RETURNED = "there is a home again in the place of the one that was being removed"
TOOL_FAILED = "the home is removed, but not the account"
STUCK = "the home is destroyed, but not all of its files could be deleted"

#: About to be moved away; its keys are being destroyed; the account goes; the files go.
MOVING, ERASING, LEAVING, DELETING = "moving", "erasing", "leaving", "deleting"
