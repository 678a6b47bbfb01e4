"""For the packages' scripts: takes our lines out of the PAM files before the module goes."""

from __future__ import annotations

import os
import sys

from pam_pyhome.admin import pam_plan, plan
from pam_pyhome.errors import PyhomeError


def main() -> int:
    """Take them out; 1 if some are left, which are named."""
    try:
        changes, left = pam_plan.out_of_everything()
        plan.sweep({os.path.dirname(change.path) for change in changes})
        plan.carry_out(changes)
    except (PyhomeError, OSError) as error:
        sys.stderr.write(f"pyhome: the lines in /etc/pam.d could not be taken out: {error}\n")
        return 1
    for path in left:
        sys.stderr.write(f"pyhome: {path}: logins may need the lines with pam_pyhome.so; take them out by hand\n")
    return 1 if left else 0
