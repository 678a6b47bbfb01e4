"""Run one target in Python: ``python -m tests.fuzz.one NAME OPTION...`` with libFuzzer's options, or ``... NAME --again HEX``."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.target import Property

MODULES = ("homes", "keys_and_stacks", "records", "talk")


def main() -> None:
    """Hand the target to atheris, which counts what of pam_pyhome an input reaches; or run one input without it."""
    name, *options = sys.argv[1:]
    if options[:1] == ["--again"]:
        _load()
        _holds(name)(bytes.fromhex(options[1]))
        print("nothing was found with this input")
        return
    import atheris  # type: ignore[import-untyped]  # noqa: PLC0415

    with atheris.instrument_imports(include=["pam_pyhome.formats", "pam_pyhome.sshd"]):
        _load()
    atheris.Setup([sys.argv[0], *options], _holds(name))
    atheris.Fuzz()


def _load() -> None:
    for module in MODULES:
        importlib.import_module(f"tests.fuzz.{module}")


def _holds(name: str) -> Property:
    from tests.fuzz.target import TARGETS  # noqa: PLC0415

    return TARGETS[name].holds


if __name__ == "__main__":
    main()
