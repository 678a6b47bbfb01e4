"""What is timed: the PAM stacks, and transactions through them."""

from __future__ import annotations

import json

PASSWORD = "secret"

# The verification before the module costs the same in every stack, and as little as crypt(5) allows.
VERIFY = "auth required pam_unix.so\naccount required pam_permit.so\n"
STACKS = {
    "permit": "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
    "beside": (
        "auth required pam_permit.so\nauth optional pam_pyhome.so unwrap\naccount required pam_permit.so\n"
        "session required pam_permit.so\nsession optional pam_pyhome.so\n"
    ),
    "ours": f"{VERIFY}auth optional pam_pyhome.so unwrap\nsession optional pam_pyhome.so\n",
    "peer": f"{VERIFY}auth required pam_ecryptfs.so unwrap\nsession optional pam_ecryptfs.so unwrap\n",
    "verify": f"{VERIFY}session required pam_permit.so\n",
}


def case(name: str, service: str, user: str, *operations: str, between: str = ":") -> dict[str, object]:
    """One transaction of pamtester, and the shell command that undoes it."""
    return {"name": name, "command": ["pamtester", service, user, *operations], "between": between}


def order(rounds: int, cases: list[dict[str, object]]) -> str:
    """What `timing.py` reads."""
    return json.dumps({"rounds": rounds, "password": PASSWORD, "cases": cases})
