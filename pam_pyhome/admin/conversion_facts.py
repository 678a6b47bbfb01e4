"""What a conversion of a home is called, how far it may be, and why it is not gone on with."""

from __future__ import annotations

ENCRYPT, DECRYPT = "encrypt", "decrypt"

#: Being made, nobody knows the recovery key; being filled; about to take its place; in its place; the other copy is being removed.
PREPARING, COPYING, SWAPPING, SWAPPED, REMOVING = "preparing", "copying", "swapping", "swapped", "removing"

#: The parts of the work, of which each has its own progress.
COPYING_FILES, VERIFYING_FILES = "copying", "verifying"

NOTHING_BEGUN = "nothing was begun that could be gone on with"
BEGUN = "was begun and not finished"
UNCONFIRMED = "the copy from before is still kept"
NOTHING_KEPT = "no copy is kept"
BOTH_CHANGED = "both the plain home and the encrypted one have been changed since one was copied to the other"
NOT_THERE = "what was converted is not there"
UNSAFE = "the home is where somebody else than root can put another one in its place"
OTHER_HOME = "the home is none of the two that were converted"
UNKNOWN_HOME = "an earlier version has begun it, and which of the two homes is in its place cannot be told"
MOVED = "neither copy is where the home belongs"
IN_THE_WAY = "there is a copy of a home that is on no record"
NOT_OWN = "the home directory belongs to somebody else"
OTHER_BACKEND = "was begun with another backend"

WRONG_PASSWORD = "this is not the login password"
NO_PASSWORD = "there is no login password"
