"""Runs in the machine as root: ``inside.py ORDER`` plays games with a home, see `Order`; the last line that it prints is JSON."""

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, "/usr/lib/pyhome")

import pam_pyhome
from tests.model.games import Games, Order, say


def main() -> None:
    # Once for all commands, which run in children of this process.
    for found in pkgutil.walk_packages(pam_pyhome.__path__, "pam_pyhome."):
        with contextlib.suppress(ImportError):
            importlib.import_module(found.name)
    began = time.monotonic()
    try:
        result = Games(Order(**json.loads(sys.argv[1]))).run()
        say(f"{result['steps']} steps in {time.monotonic() - began:.0f} s")
    except BaseException:
        # What still runs has the same output: without a last line, its reader would wait for that.
        say(json.dumps({"wrong": traceback.format_exc(), "source": "the model itself", "game": [], "log": []}))
        raise
    say(json.dumps(result))


if __name__ == "__main__":
    main()
