"""docs/json.md says what there is: every exit status, every field, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pam_pyhome import errors
from pam_pyhome.admin.conversion_record import Record
from pam_pyhome.admin.doctor.finding import Finding
from pam_pyhome.admin.plan import Change, Node
from pam_pyhome.backends.base import Account
from pam_pyhome.cli import homes_json, plans
from pam_pyhome.cli.failure import INTERRUPTED
from pam_pyhome.formats.facts import Failure, HomeFacts
from tests.unit.cli.known_homes import HOMES, OPEN

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "json.md").read_text(encoding="utf-8")
CONVERSION = Record(Account("ada", 61001, 61001, "/home/ada"), "encrypt", "fscrypt", "copying")
TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "boolean": (bool,), "string or null": (str, type(None))}


def classes() -> dict[int, set[str]]:
    """Exit status by class."""
    found: dict[int, set[str]] = {}
    for each in vars(errors).values():
        if isinstance(each, type) and issubclass(each, errors.PyhomeError):
            found.setdefault(each.exit_code, set()).add(each.__name__)
    return found


def test_every_class_has_an_exit_status_of_its_own() -> None:
    assert [kinds for kinds in classes().values() if len(kinds) > 1] == []


def test_every_exit_status_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \| .+ \|$", TEXT, re.MULTILINE)
    documented = {int(code): set(re.findall(r"`(\w+)`", kinds)) for code, kinds in rows}
    assert len(documented) == len(rows)
    expected = classes() | {2: set(), INTERRUPTED: set()}
    expected[1] |= {"OSError"}
    assert documented == expected


def test_the_manual_has_the_same_statuses() -> None:
    manual = (DOCS / "man/pyhome.1").read_text(encoding="utf-8")
    section = manual.partition(".SH EXIT STATUS")[2].partition(".SH")[0]
    assert {int(code) for code in re.findall(r"^\.B (\d+)$", section, re.MULTILINE)} == {0, 2, INTERRUPTED, *classes()}


def documented_home() -> dict[str, str]:
    """Field by type of the table about homes."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT.partition("A *home*:")[2].partition("###")[0], re.MULTILINE))


def documented(what: str) -> set[str]:
    """The fields of one of the sentences about smaller objects."""
    sentence = TEXT.partition(f"*{what}*: `")[2].partition("\n\n")[0]
    return set(re.findall(r"`(\w+)`", "`" + re.sub(r"\(.*?\)", "", sentence, flags=re.DOTALL)))


@pytest.mark.parametrize("facts", HOMES, ids=lambda facts: facts.state)
def test_a_home_has_the_documented_fields(facts: HomeFacts) -> None:
    (home,) = json.loads(homes_json.listing([facts]))["homes"]
    fields = documented_home()
    assert {name for name in home if not name.endswith("_b64")} == fields.keys()
    for name, kind in fields.items():
        assert isinstance(home[name], TYPES.get(kind, (list,))), name
    for slot in home["slots"]:
        assert {name for name in slot if not name.endswith("_b64")} == documented("slot")
    for session in home["sessions"]:
        assert session.keys() == documented("session")


def test_the_outer_objects() -> None:
    top = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT.partition("## JSON")[2].partition("A *home*")[0], re.MULTILINE))
    outputs = [
        json.loads(homes_json.listing(HOMES)),
        json.loads(homes_json.listing([], [CONVERSION])),
        json.loads(homes_json.outcome(OPEN, changed=True)),
        json.loads(homes_json.error(Failure(44, "HomeInUseError", "ada", "in use", ("pid 1 (x)",)), "sentence")),
    ]
    assert set().union(*outputs) == top.keys()
    assert [output["version"] for output in outputs] == [1, 1, 1, 1]
    assert outputs[-1].keys() == {"version", "error"}
    assert outputs[-1]["error"].keys() == documented("error")
    assert outputs[1]["conversions"][0].keys() == documented("conversion")


def fields(section: str, source: str) -> set[str]:
    """The fields of the table behind "From `source`"."""
    table = TEXT.partition(f"### {section}")[2].partition("\n###")[0].partition(f"From `{source}`")[2].partition("\n\nA *")[0]
    return set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_the_objects_of_doctor() -> None:
    finding = Finding("ok", "check", "subject", "text")
    assert documented("finding") == finding._asdict().keys()
    assert fields("The machine", "doctor") == {"version", "verdict", "user", "findings"}


def test_a_change_of_a_plan() -> None:
    (change,) = plans.described([Change("/etc/x", None, Node(0, 0, 0o644, b"12"))])
    assert documented("change") == change.keys()
    node = change["after"]
    assert isinstance(node, dict)
    assert documented("node") == node.keys()
    assert (node["mode"], node["size"]) == ("0644", 2)


def test_every_object_has_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    plans.print_json({"changes": []})
    assert json.loads(capsys.readouterr().out) == {"version": 1, "changes": []}


def test_what_is_not_utf8_is_there_twice() -> None:
    strange = next(facts for facts in HOMES if b"\xff" in facts.mountpoint)
    (home,) = json.loads(homes_json.listing([strange]))["homes"]
    assert home["mountpoint"] == "/home/\ufffd"
    assert home["mountpoint_b64"] == "L2hvbWUv/w=="
    assert home["since"] == "2026-11-21T12:00:00+00:00"
