"""Copying a home and comparing the copy, by processes that see nothing else.

The user may change the home meanwhile, also where nobody sees who does it: with a descriptor that is on its way through a socket,
or as another uid in a name space. Looking for who uses a home is a courtesy to them, and no barrier. That these processes see only
the home, which they cannot write, and the copy, is one: a link that is put in their way leads nowhere.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from pam_pyhome.admin import in_use, tree_compare, tree_copy
from pam_pyhome.admin.conversion_facts import COPYING_FILES, VERIFYING_FILES
from pam_pyhome.admin.conversion_kinds import LONGEST_WORK
from pam_pyhome.admin.conversion_record import place_of
from pam_pyhome.admin.lines import Line
from pam_pyhome.errors import CopyDiffersError
from pam_pyhome.kernel import namespace

if TYPE_CHECKING:
    from collections.abc import Callable

    from pam_pyhome.admin.conversion_kinds import Kind, Progress, Settle
    from pam_pyhome.admin.tree_compare import Tell
    from pam_pyhome.backends.base import Account


class Worker(NamedTuple):
    """Copies and verifies."""

    account: Account
    kind: Kind
    lock: int

    def copy(self, target: str, progress: Progress, settle: Settle | None = None) -> None:
        """Make `target` the same as the source; for `settle` see `conversion_kinds.Work`. CopyError, CopyDiffersError, OSError."""
        in_use.check(self.account, self.account.home, place_of(self.account))
        for again in (False, True):
            self._copy(target, progress, again=again, whole_seconds=settle is not None)
            if settle is not None:
                settle()
            found = self._compare(target, progress)
            if not found.total:
                return
        raise CopyDiffersError(self.account.home, found.lines, found.total)

    def _copy(self, target: str, progress: Progress, *, again: bool, whole_seconds: bool) -> None:
        # Temporary names could be longer than eCryptfs has them.
        ways = tree_copy.Ways(self.kind.in_place, whole_seconds, again)

        def copy(tell: Tell) -> bytes:
            tree_copy.copy(self.account.home, target, self.kind.own_names, ways, lock=self.lock, tell=tell)
            return b""

        self._confined({self.account.home: False, target: True}, COPYING_FILES, progress, copy)

    def _compare(self, target: str, progress: Progress) -> tree_compare.Differences:
        def compare(tell: Tell) -> bytes:
            try:
                found = tree_compare.compare(self.account.home, target, self.kind.own_names, tell)
            except FileNotFoundError as error:
                found = tree_compare.Differences((f"{os.fsdecode(error.filename)} has vanished",), 1)
            return json.dumps(found).encode("ascii")

        lines, total = json.loads(self._confined({self.account.home: False, target: False}, VERIFYING_FILES, progress, compare))
        return tree_compare.Differences(tuple(lines), total)

    def _confined(self, shown: dict[str, bool], part: str, progress: Progress, work: Callable[[Tell], bytes]) -> bytes:
        """What `work` returns, done where nothing but these directories is seen. Errors as of `work`, StorageError."""
        with Line(progress) as line:

            def inside() -> bytes:
                namespace.confine(shown)
                return line.carry(lambda: work(lambda size, files: line.tell(part, size, files)))

            return namespace.run(f"{part} {self.account.home}", inside, seconds=LONGEST_WORK)
