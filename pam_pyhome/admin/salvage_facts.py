"""Why no home of another installation is opened, or closed, at a directory: the reasons of `PlaceError`."""

from __future__ import annotations

NOT_EMPTY = "is not empty"
NOT_ROOTS = "is not a directory that root alone can write"
IN_USE = "a home is open there already"
OPEN_ELSEWHERE = "is open already"
NOT_OPEN = "no home was opened there by 'pyhome recover'"
SEVERAL = "several homes that lie there are open"
COVERED = "something else is mounted over the home"
NOT_ALONE = "is on a disk that others than root get to, and could read and write the home at"
OTHERS_INSIDE = "is on a disk that is in use by others than root, who could read and write the home"
