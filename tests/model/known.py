"""Games that once showed something wrong, each as short as it can be."""

from __future__ import annotations

from tests.model.games import Step

#: The number behind a step is the seed of the dice that decide how it is made.
BOTH: list[list[Step]] = [
    # The key was taken from under what runs, at logout and at a `lock` that refuses.
    [("log_in", 1), ("leave_something_running", 0), ("log_out", 0)],
    [("unlock", 1), ("leave_something_running", 0), ("lock", 0)],
    # The user has no group of their own, and only a group gets to the homes.
    [("close_the_way", 1), ("log_in", 1), ("log_out", 0)],
    # What cannot be recorded was open for ever.
    [("fill_run", 0), ("log_in", 1), ("log_out", 0)],
    [("fill_run", 0), ("unlock", 0)],
    # Found by its path, the home was not found where it had been moved, or was covered; nor its copies in other name spaces.
    [("log_in", 1), ("move", 0), ("log_out", 0), ("move_back", 0)],
    [("log_in", 1), ("cover", 0), ("log_out", 0), ("uncover", 0)],
    [("log_in", 1), ("enter_a_name_space", 0), ("log_out", 0)],
    [("log_in", 1), ("bind", 0), ("log_out", 0), ("unbind", 0)],
]

FSCRYPT: list[list[Step]] = [
    # The file system of the homes is mounted once more while the home is opened: in reach of users, and out of it.
    [("mount_again", 1), ("log_in", 1), ("umount_again", 0), ("log_out", 0)],
    [("mount_again", 0), ("log_in", 1), ("umount_again", 0), ("log_out", 0)],
]
