"""The model: what can happen to a home, what must be so after it, and whether pyhome and the kernel say that it is."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.model import machine
from tests.model.kernel import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MNT_DETACH,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    MS_SLAVE,
    Ecryptfs,
    Fscrypt,
    keys_left,
    mount,
    umount,
)
from tests.model.sessions import Session, as_user

if TYPE_CHECKING:
    from collections.abc import Callable

USER, NEIGHBOUR, SERVICE = "grace", "mallory", "model"
ELSEWHERE, SECOND, OUT_OF_REACH = "/mnt/elsewhere", "/mnt/second", "/root/second"
IN_USE, BUSY, NO_DAEMON = 44, 16, 43
OPEN, LOCKED, EITHER = "open", "locked", "either"


class Wrong(Exception):  # noqa: N818 - what was found, not how it went
    """What pyhome says or does is not so."""


class Setting(NamedTuple):
    """Where the home is and how to speak of it. `device` is that of its file system where a second mount can be made, or empty."""

    home: str
    uid: int
    password: str
    device: str
    daemon: list[str]
    log: str
    seconds: float


class Play:
    """A home, and all that has been done to it and around it."""

    def __init__(self, setting: Setting, kernel: Fscrypt | Ecryptfs) -> None:
        self.setting, self.kernel = setting, kernel
        self.place = os.path.dirname(setting.home)
        self.daemon = machine.Daemon(setting.daemon)
        self.log = machine.Log(setting.log)
        for where in (machine.RUN, machine.LIB):
            machine.small_disk(where)
        for where in (ELSEWHERE, SECOND, OUT_OF_REACH):
            os.makedirs(where, exist_ok=True)
        self.sessions: list[Session] = []
        self.holders: dict[int, str] = {}  # by process, whose it is
        self.spaces: list[int] = []
        # Whether the home is open: None where it may be either.
        self.opened: bool | None = False
        self.hold = self.covered = self.inner = self.bound = self.moved = self.full = False
        self.second = ""  # where the file system is mounted once more

    # What must be so

    @property
    def home(self) -> str:
        """Where the home is now."""
        return f"{self.place}-moved/{os.path.basename(self.setting.home)}" if self.moved else self.setting.home

    def is_readable(self) -> bool:
        """What the kernel says."""
        return self.kernel.is_readable(self.home)

    def is_in_the_way(self) -> bool:
        """Whether something keeps a login from opening the home, as its administrator will see."""
        return self.covered or self.moved or self.full

    def is_used(self) -> bool:
        """Whether somebody may keep the home from being locked."""
        return bool(self.holders) or self.inner or self.bound or self.covered or self.moved

    def expected(self) -> str:
        """OPEN, LOCKED, or EITHER where it depends."""
        self.holders = {pid: owner for pid, owner in self.holders.items() if machine.is_alive(pid)}
        if self.opened is False:
            return LOCKED
        if self.opened and (self.hold or self.holders or any(not session.weak for session in self.sessions)):
            return OPEN
        if self.sessions or self.hold or self.is_used() or not self.daemon.runs:
            return EITHER
        return LOCKED

    def settle(self) -> None:
        """Wait until all agree, which has a deadline; what must never be said is not waited for."""
        deadline, pause = time.monotonic() + self.setting.seconds, 0.02
        while (trouble := self._disagreement()) is not None:
            if time.monotonic() > deadline:
                raise Wrong(f"still after {self.setting.seconds:.0f} s: {trouble}")
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
        expected = self.expected()
        self.opened = self.is_readable() if expected == EITHER else expected == OPEN

    def _disagreement(self) -> str | None:
        word = self.log.last_word()
        before = self.is_readable()
        state = machine.state_of(self._pyhome("list", "--json").said, USER)
        after = self.is_readable()
        if state == "locked" and before and after:
            raise Wrong("pyhome says that the home is locked, and root can read it")
        if before != after:
            return "it changes"
        expected = self.expected()
        if expected == OPEN and not after:
            raise Wrong("somebody uses the home, and it is not open")
        is_hidden = self.covered or self.moved
        if after and word == "locked":
            return "the log says that the home was locked, and root can read it"
        if after:
            return self._disagreement_open(state, expected, is_hidden=is_hidden)
        return self._disagreement_locked(state, expected, is_hidden=is_hidden)

    def _disagreement_open(self, state: str, expected: str, *, is_hidden: bool) -> str | None:
        if expected == LOCKED:
            return f"nobody uses the home, and it is open ({state})"
        if not Path(f"{machine.RUN}/{self.setting.uid}/open").exists():
            return "the home is open on no record"
        return None if state == OPEN or is_hidden else f"the home is open, and pyhome says: {state}"

    def _disagreement_locked(self, state: str, expected: str, *, is_hidden: bool) -> str | None:
        if self.kernel.is_present(self.home):
            # What cannot be read may still be mounted somewhere: said to be open, or to be locked, both are the truth.
            # What a lock by force has left of it under sessions goes with them.
            is_excused = expected == EITHER or self.spaces or self.sessions or self.is_used()
            return None if is_excused else "nobody uses the home, and it is partly there"
        if state != LOCKED and not is_hidden:
            return f"the home is locked, and pyhome says: {state}"
        if expected == LOCKED and not self.sessions and (left := keys_left(self.kernel.names)):
            return f"keys are left: {left}"
        return None

    def _pyhome(self, *arguments: str, user: str = "root", stdin: str = "") -> machine.Ran:
        ran = machine.pyhome(*arguments, user=user, stdin=stdin)
        if "Traceback" in ran.said or ran.said == "hangs":
            raise Wrong(f"pyhome {' '.join(arguments)}: {ran.said}")
        return ran

    # Sessions

    def log_in(self, dice: random.Random) -> None:
        """With the password, which must open the home unless something is in the way."""
        self._logged_in([self._login(dice)])

    def log_in_at_once(self, dice: random.Random) -> None:
        """Three at the same time."""
        self._logged_in([self._login(dice) for _ in range(3)])

    def _login(self, dice: random.Random, password: str | None = None) -> Session:
        given = self.setting.password if password is None else password
        session = Session(SERVICE, USER, given, shell=self.setting.home if dice.random() < 0.3 else "")
        session.weak = self.full
        self.sessions.append(session)
        return session

    def _logged_in(self, sessions: list[Session], *, opens: bool = True) -> None:
        for session in sessions:
            if (codes := session.codes()) != (0, 0):
                raise Wrong(f"a login is refused: {codes}")
        if opens and self.is_in_the_way():
            self.opened = None if not self.opened else self.opened
        elif opens:
            if not self.opened:
                self.hold = False
            self.opened = True
            if not self.is_readable():
                raise Wrong("a login with the right password, with nothing in the way, did not open the home")

    def log_in_without_a_password(self, dice: random.Random) -> None:
        """As after a public key."""
        self._logged_in([self._login(dice, "")], opens=False)

    def try_a_wrong_password(self, _dice: random.Random) -> None:
        """Which opens nothing and begins no session."""
        session = Session(SERVICE, USER, "wrong")
        if session.codes().auth == 0:
            raise Wrong("a wrong password logs in")
        session.kill()

    def log_in_and_lose_the_worker(self, dice: random.Random) -> None:
        """It is killed somewhere on the way; the login goes on."""
        striker = machine.strike_worker(dice.random() * 0.3)
        self._logged_in([self._login(dice)], opens=False)
        os.waitpid(striker, 0)
        self.opened = self.opened or None

    def log_out(self, dice: random.Random) -> None:
        """One of them."""
        self._log_out([dice.choice(self.sessions)])

    def log_out_all(self, _dice: random.Random) -> None:
        """All at the same time."""
        self._log_out(list(self.sessions))

    def _log_out(self, sessions: list[Session]) -> None:
        for session in sessions:
            session.begin_close()
        for session in sessions:
            self._gone(session)
            if (code := session.closed()) != 0:
                raise Wrong(f"closing a session fails: {code}")

    def _gone(self, session: Session) -> None:
        self.sessions.remove(session)
        if not any(not each.weak for each in self.sessions) and not self.hold and not self.holders and self.opened:
            self.opened = None

    def log_out_and_in_again(self, dice: random.Random) -> None:
        """At the same time."""
        old = dice.choice(self.sessions)
        old.begin_close()
        new = self._login(dice)
        self._logged_in([new], opens=False)
        self.sessions.remove(old)
        if old.closed() != 0:
            raise Wrong("closing a session fails")
        # Who was first decides whether the new one found it open; its password opens it in either case.
        self._logged_in([]) if not self.is_in_the_way() else self._unsure()

    def log_out_and_lose_the_worker(self, dice: random.Random) -> None:
        """It is killed somewhere on the way; pyhomed is still there."""
        striker = machine.strike_worker(dice.random() * 0.3)
        self.log_out(dice)
        machine.end(striker)

    def kill_a_session(self, dice: random.Random) -> None:
        """Nobody closes it."""
        session = dice.choice(self.sessions)
        session.kill()
        self._gone(session)

    def _unsure(self) -> None:
        self.opened = None

    # What runs on

    def leave_something_running(self, dice: random.Random) -> None:
        """A process of the user's or of root's, with a file of the home open or its working directory there."""
        owner, file = dice.choice((USER, USER, "root")), dice.choice(("", "secret"))
        pid = as_user(owner, self.home, f"{self.home}/{file}" if file else "")
        if pid:
            self.holders[pid] = owner

    def end_what_runs(self, dice: random.Random) -> None:
        """One of them."""
        pid = dice.choice(sorted(self.holders))
        machine.end(pid)
        del self.holders[pid]
        self.opened = None if not self.sessions and not self.hold and not self.holders else self.opened

    # What is asked for

    def lock(self, dice: random.Random) -> None:
        """By hand; by root, or by its owner through pyhomed."""
        self._lock(dice, ())

    def lock_by_force(self, dice: random.Random) -> None:
        """The same, whoever uses it."""
        self._lock(dice, ("--force",))

    def _lock(self, dice: random.Random, options: tuple[str, ...]) -> None:
        expected = self.expected()
        used, user = self.is_used(), dice.choice(("root", USER))
        ran = self._pyhome("lock", *options, USER, user=user)
        readable = self.is_readable()
        if ran.code == 0:
            if readable:
                raise Wrong(f"'pyhome lock' succeeds, and root can read the home: {ran.said}")
            self.opened = self.hold = False
            return
        if ran.code == NO_DAEMON and user != "root" and not self.daemon.runs:
            return
        gentle = [session for session in self.sessions if not session.weak and not options]
        if not (used or gentle or self.spaces or self.full):
            raise Wrong(f"'pyhome lock {' '.join(options)}' fails, and nothing is in the way: {ran.code} {ran.said}")
        if expected == OPEN and not options and not readable:
            raise Wrong(f"'pyhome lock' refuses, and has taken the home away: {ran.code} {ran.said}")
        if options or self.bound or self.covered or self.inner or self.moved:
            self._unsure()
            self.hold = self._is_on_hold()
        elif not gentle:
            # It is in use; whoever asked for it does not want it open any longer than that.
            self.hold = self._is_on_hold()
            self.opened = self.opened if self.sessions or self.holders or self.hold else None

    def _is_on_hold(self) -> bool:
        return Path(f"{machine.RUN}/{self.setting.uid}/hold").exists()

    def unlock(self, dice: random.Random) -> None:
        """By hand; by root, or by its owner through pyhomed."""
        was_open, user = self.is_readable(), dice.choice(("root", USER))
        ran = self._pyhome("unlock", "--password-file", "-", USER, user=user, stdin=f"{self.setting.password}\n")
        if ran.code == NO_DAEMON and user != "root" and not self.daemon.runs:
            return
        if self.is_in_the_way():
            self.hold = self._is_on_hold()
            self.opened = self.opened if was_open else None
            return
        if ran.code != 0:
            raise Wrong(f"'pyhome unlock' fails, and nothing is in the way: {ran.code} {ran.said}")
        if not self.is_readable():
            raise Wrong(f"'pyhome unlock' succeeds, and the home cannot be read: {ran.said}")
        if not was_open:
            self.hold = self._is_on_hold()
            if not self.sessions and not self.hold:
                raise Wrong("'pyhome unlock' without a session is not on record as a wish to keep the home open")
        self.opened = True if self.sessions or self.hold or self.holders else None

    def its_owner_asks(self, _dice: random.Random) -> None:
        """What pyhomed says to its owner is true as well."""
        before = self.is_readable()
        state = machine.state_of(self._pyhome("status", "--json", user=USER).said, USER)
        if before and self.is_readable() and state == "locked":
            raise Wrong("pyhomed says that the home is locked, and root can read it")

    def take_the_key_by_hand(self, _dice: random.Random) -> None:
        """As an administrator may, with the tools of the kernel."""
        self.kernel.lock_by_hand(self.setting.uid)
        if not self.is_readable():
            self.opened = self.hold = False

    # pyhomed

    def strike_pyhomed(self, dice: random.Random) -> None:
        """Kill it, and start it again."""
        self.daemon.strike(children=dice.random() < 0.5)
        self.daemon.start()

    def stop_pyhomed(self, dice: random.Random) -> None:
        """Kill it, and leave it so for a while."""
        self.daemon.strike(children=dice.random() < 0.5)

    def start_pyhomed(self, _dice: random.Random) -> None:
        """Have it back."""
        self.daemon.start()
        self.opened = None if self.expected() == LOCKED and self.opened else self.opened

    # Mounts and name spaces

    def cover(self, _dice: random.Random) -> None:
        """Mount something over the home."""
        mount("over", self.home, "tmpfs", 0, "size=64k")
        self.covered = True

    def uncover(self, _dice: random.Random) -> None:
        """Take it away again."""
        umount(self.home, MNT_DETACH)
        self.covered = False
        self._may_lock()

    def mount_inside(self, _dice: random.Random) -> None:
        """Mount something on a directory in the open home."""
        with contextlib.suppress(OSError):
            mount("in", f"{self.home}/directory", "tmpfs", 0, "size=64k")
            self.inner = True

    def umount_inside(self, _dice: random.Random) -> None:
        """Take it away again."""
        umount(f"{self.home}/directory", MNT_DETACH)
        self.inner = False
        self._may_lock()

    def bind(self, _dice: random.Random) -> None:
        """Show the home in a second place."""
        mount(self.home, ELSEWHERE, None, MS_BIND)
        self.bound = True

    def unbind(self, _dice: random.Random) -> None:
        """No more, if locking the home has not taken it away.

        Where the home was locked when it was bound, its mount has come to lie on top of both places, and leaves both.
        """
        was_readable = self.is_readable()
        with contextlib.suppress(OSError):
            umount(ELSEWHERE, MNT_DETACH)
        self.bound = os.path.ismount(ELSEWHERE)
        if was_readable and not self.is_readable():
            self.opened = self.hold = False
        self._may_lock()

    def mount_again(self, dice: random.Random) -> None:
        """The file system of the homes, where everybody gets to or only root."""
        self.second = dice.choice((SECOND, OUT_OF_REACH))
        mount(self.setting.device, self.second, "ext4")

    def umount_again(self, _dice: random.Random) -> None:
        """No more."""
        umount(self.second, MNT_DETACH)
        self.second = ""

    def move(self, _dice: random.Random) -> None:
        """Rename a directory above the home."""
        os.rename(self.place, f"{self.place}-moved")
        self.moved = True

    def move_back(self, _dice: random.Random) -> None:
        """As it was."""
        os.rename(f"{self.place}-moved", self.place)
        self.moved = False
        self._may_lock()

    def _may_lock(self) -> None:
        """Somebody was in the way of locking it, and is not any more."""
        if not self.sessions and not self.hold and not self.holders:
            self.opened = None

    def close_the_way(self, dice: random.Random) -> None:
        """Only members of a group may enter the directories of the homes; the user is one."""
        for directory in (self.place, os.path.dirname(self.place)):
            os.chmod(directory, dice.choice((0o750, 0o755)))

    def enter_a_name_space(self, dice: random.Random) -> None:
        """Of a neighbour, or of root, with all mounts there are, on its own or following ours."""
        owner = dice.choice((NEIGHBOUR, NEIGHBOUR, "root"))
        flags = CLONE_NEWNS | (0 if owner == "root" else CLONE_NEWUSER)
        propagation = MS_REC | dice.choice((MS_PRIVATE, MS_PRIVATE, MS_SLAVE))
        pid = machine.new_space(owner, flags, propagation, "/")
        if not pid:
            raise Wrong(f"{owner} cannot have a mount name space here")
        self.spaces.append(pid)

    def leave_a_name_space(self, dice: random.Random) -> None:
        """It ends with its process."""
        pid = dice.choice(self.spaces)
        machine.end(pid)
        self.spaces.remove(pid)

    # Disks, time

    def fill_run(self, dice: random.Random) -> None:
        """No room for records."""
        machine.fill(machine.RUN, inodes=dice.random() < 0.5)
        self.full = True

    def fill_lib(self, dice: random.Random) -> None:
        """No room for copies of key files, which keeps nobody from anything."""
        machine.fill(machine.LIB, inodes=dice.random() < 0.5)

    def make_room(self, _dice: random.Random) -> None:
        """On both."""
        for where in (machine.RUN, machine.LIB):
            machine.empty(where)
        self.full = False

    def wait(self, dice: random.Random) -> None:
        """Time goes by."""
        time.sleep(dice.random() * 0.8)

    # Beginning and end

    def end_all(self) -> None:
        """Everybody leaves, and everything that was in the way goes: now the home must be locked."""
        for session in self.sessions:
            session.kill()
        for pid in (*self.holders, *self.spaces):
            machine.end(pid)
        self.sessions, self.holders, self.spaces = [], {}, []
        self._clear_the_way()
        if self._is_on_hold():
            self._pyhome("lock", USER)
        self.hold, self.opened = False, None
        self.daemon.start()

    def _clear_the_way(self) -> None:
        self.make_room(random.Random())
        for is_there, what in (
            (self.inner, f"{self.home}/directory"), (self.covered, self.home), (self.second, self.second),
        ):  # fmt: skip
            if is_there:
                with contextlib.suppress(OSError):
                    umount(what, MNT_DETACH)
        while os.path.ismount(ELSEWHERE):  # the home's own mount may lie on top
            umount(ELSEWHERE, MNT_DETACH)
        self.inner = self.covered = self.bound = False
        self.second = ""
        if self.moved:
            self.move_back(random.Random())
        for directory in (self.place, os.path.dirname(self.place)):
            os.chmod(directory, 0o755)

    def leave(self) -> None:
        """Put the machine's own disks back in the place of the small ones."""
        self.daemon.strike(children=True)
        for where in (machine.RUN, machine.LIB):
            machine.own_disk(where)
        self.daemon.start()

    def reset(self) -> None:
        """Make it as it was at first by force, whatever state pyhome has left it in."""
        with contextlib.suppress(Wrong):
            self.end_all()
        self.daemon.strike(children=True)
        self.kernel.lock_whatever_happens()
        shutil.rmtree(f"{machine.RUN}/{self.setting.uid}", ignore_errors=True)
        self.daemon.start()
        self.log.read()
        self.log.lines.clear()
        self.opened = False


class Action(NamedTuple):
    """One thing that can happen: how often, beside the others, and when."""

    weight: int
    can: Callable[[Play], object]


#: By the name of the method.
ACTIONS: dict[str, Action] = {
    "log_in": Action(14, lambda play: len(play.sessions) < 4),
    "log_in_at_once": Action(2, lambda play: len(play.sessions) < 3),
    "log_in_without_a_password": Action(3, lambda play: len(play.sessions) < 4),
    "try_a_wrong_password": Action(1, lambda _play: True),
    "log_in_and_lose_the_worker": Action(3, lambda play: len(play.sessions) < 4),
    "log_out": Action(14, lambda play: play.sessions),
    "log_out_all": Action(5, lambda play: play.sessions),
    "log_out_and_in_again": Action(3, lambda play: play.sessions),
    "log_out_and_lose_the_worker": Action(2, lambda play: play.sessions),
    "kill_a_session": Action(8, lambda play: play.sessions),
    "leave_something_running": Action(5, lambda play: play.opened and not play.covered and len(play.holders) < 3),
    "end_what_runs": Action(8, lambda play: play.holders),
    "lock": Action(5, lambda _play: True),
    "lock_by_force": Action(3, lambda _play: True),
    "unlock": Action(4, lambda _play: True),
    "its_owner_asks": Action(2, lambda play: play.daemon.runs),
    "take_the_key_by_hand": Action(
        1,
        lambda play: play.opened and not (play.is_used() or play.spaces or any(each.shell for each in play.sessions)),
    ),
    "strike_pyhomed": Action(3, lambda play: play.daemon.runs),
    "stop_pyhomed": Action(1, lambda play: play.daemon.runs),
    "start_pyhomed": Action(12, lambda play: not play.daemon.runs),
    "cover": Action(2, lambda play: not (play.covered or play.inner)),
    "uncover": Action(8, lambda play: play.covered),
    "mount_inside": Action(2, lambda play: play.opened and not (play.inner or play.covered)),
    "umount_inside": Action(8, lambda play: play.inner and not play.covered),
    "bind": Action(2, lambda play: not play.bound),
    "unbind": Action(8, lambda play: play.bound),
    "mount_again": Action(2, lambda play: play.setting.device and not play.second),
    "umount_again": Action(5, lambda play: play.second),
    "move": Action(2, lambda play: not play.moved),
    "move_back": Action(8, lambda play: play.moved),
    "close_the_way": Action(2, lambda play: not play.moved),
    "enter_a_name_space": Action(3, lambda play: len(play.spaces) < 2),
    "leave_a_name_space": Action(6, lambda play: play.spaces),
    "fill_run": Action(2, lambda play: not play.full),
    "fill_lib": Action(2, lambda _play: True),
    "make_room": Action(6, lambda play: play.full),
    "wait": Action(3, lambda _play: True),
}
