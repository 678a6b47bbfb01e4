"""Everything around a home that opens while the login waits: asking for it, waiting for it, and the ssh agent that it hides."""

from __future__ import annotations

import os
import select
import time

from pam_pyhome.shell_stub.agent import hold
from pam_pyhome.shell_stub.conversation import Unavailable, converse
from pam_pyhome.shell_stub.decide import Exec, Refuse, Unlock, Wait, shown
from pam_pyhome.shell_stub.say import say
from pam_pyhome.shell_stub.state import MOUNTINFO, is_open
from pam_pyhome.shell_stub.terminal import SILENCE_SECONDS, LeftError, SilentError, Terminal

_OUTPUT = 1
_LOOK_MILLISECONDS = 250
_LOST = select.POLLERR | select.POLLHUP


def carry_out(plan: Exec | Refuse | Unlock | Wait) -> Exec | Refuse:
    """Do what the plan asks for; what is left to do."""
    if isinstance(plan, Refuse):
        return plan
    then = plan if isinstance(plan, Exec) else plan.then
    agent = hold(then.environment, then.directory)
    if isinstance(plan, Unlock):
        left = _unlock(plan)
    elif isinstance(plan, Wait):
        left = _wait(plan)
    else:
        left = then
    if not isinstance(left, Exec) or not left.directory:
        return left
    return Exec(left.path, left.arguments, agent.reach(left.environment), left.notices, left.directory)


def _unlock(plan: Unlock) -> Exec | Refuse:
    """Ask at the terminal."""
    home = shown(plan.home)
    try:
        with Terminal() as terminal:
            terminal.say(f"{home} is locked.")
            converse(terminal)
    except (Unavailable, OSError) as error:
        say(f"{home} cannot be unlocked now: {error}")
        return plan.otherwise
    except SilentError:
        line = f"nothing was typed for {SILENCE_SECONDS} seconds, so {home} stays locked; to unlock it, {plan.how}"
        if isinstance(plan.otherwise, Refuse):
            return Refuse(line)
        say(line)
        return plan.otherwise
    except LeftError as error:
        return Refuse(str(error) or f"{home} stays locked", error.status)
    return plan.then


def _wait(plan: Wait) -> Exec | Refuse:
    """Watch the mounts, which announce themselves, and the key, which does not; and whether anybody still listens."""
    say(plan.notice)
    real = os.path.realpath(plan.home)
    deadline = time.monotonic() + plan.seconds
    with open(MOUNTINFO, "rb") as mounts:
        poll = select.poll()
        poll.register(mounts, select.POLLPRI)
        poll.register(_OUTPUT, 0)
        while not is_open(real):
            left = deadline - time.monotonic()
            events = dict(poll.poll(max(0, min(int(left * 1000) + 1, _LOOK_MILLISECONDS))))
            if left <= 0 or events.get(_OUTPUT, 0) & _LOST:
                return plan.otherwise
            if events.get(_OUTPUT, 0):
                poll.unregister(_OUTPUT)
    return plan.then
