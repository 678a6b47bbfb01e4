"""``python3 -m pam_pyhome``: the command line without the installed program."""

from __future__ import annotations

from pam_pyhome.cli.main import main

if __name__ == "__main__":
    main()
