"""The records of the log: the code, the shim, the documentation and the catalog name the same events and fields."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pam_pyhome import events
from pam_pyhome.events import Event
from pam_pyhome.kernel import log
from tests.pam.machine_init import fields

ROOT = Path(__file__).parents[2]
EVENTS = {name: value for name, value in vars(events).items() if isinstance(value, Event)}
PAGE = (ROOT / "docs/journal.md").read_text()
LEVELS = {"err": events.ERROR, "warning": events.WARNING, "notice": events.NOTICE, "info": events.INFO, "debug": events.DEBUG}


def test_the_page_has_each_event_once() -> None:
    rows = re.findall(r"^\| `([0-9a-f]{32})` \| `([a-z-]+)` \| (\w+) \| .+ \|$", PAGE, re.MULTILINE)
    assert sorted((found, what, LEVELS[level]) for found, what, level in rows) == sorted(
        (event.id, event.name, event.priority) for event in EVENTS.values()
    )
    assert len({event.id for event in EVENTS.values()}) == len(EVENTS) == len({event.name for event in EVENTS.values()})


def test_the_page_has_the_fields() -> None:
    table = PAGE.partition("## Fields")[2].partition("\n\n`UID`")[0]
    columns = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    documented = set(re.findall(r"`([A-Z_]+)`", "".join(columns)))
    python = set(re.findall(r'^        "([A-Z_]+)": ', (ROOT / "pam_pyhome/kernel/log.py").read_text(), re.MULTILINE))
    shim = set(re.findall(r'add\(&fields, "([A-Z_]+)"', (ROOT / "pam_pyhome/host/record.c").read_text()))
    assert documented == python == shim


def test_the_examples_are_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(log, "_send", lambda _path, datagram: sent.append(datagram))
    examples = [json.loads(text) for text in re.findall(r"^    \{\n.*?^    \}\n", PAGE, re.MULTILINE | re.DOTALL)]
    assert len(examples) == 2
    for shown in examples:
        log.begin(shown["SYSLOG_IDENTIFIER"])
        event = next(event for event in EVENTS.values() if event.name == shown["PYHOME_WHAT"])
        whose = log.Person(shown["USER"], int(shown["UID"]), shown["HOME"])
        log.log(event, shown.get("PYHOME_WHY", ""), whose, service=shown.get("PYHOME_SERVICE", ""))
        assert fields(sent.pop()) == shown
    log.begin("pyhome")


def test_examples_name_events() -> None:
    known = {event.id for event in EVENTS.values()}, {event.name for event in EVENTS.values()}
    assert set(re.findall(r"MESSAGE_ID=([0-9a-f]+)", PAGE)) <= known[0]
    assert set(re.findall(r"PYHOME_WHAT=([a-z-]+)", PAGE)) <= known[1]


def test_the_shim_says_the_same() -> None:
    lines = re.findall(
        r'^#define (\w+) \(&\(const struct event\)\{"(.*)", "(.*)", LOG_(\w+), "(.*)"\}\)$',
        (ROOT / "pam_pyhome/host/events.h").read_text(),
        re.MULTILINE,
    )
    assert lines
    for name, what, found, level, text in lines:
        assert Event(what, found, LEVELS[level.lower()], text) == EVENTS[name]


def test_the_catalog_explains_each_event() -> None:
    entries = dict(re.findall(r"^-- (\w+)\nSubject: (.*)$", (ROOT / "packaging/files/pyhome.catalog").read_text(), re.MULTILINE))
    assert entries == {event.id: event.text for event in EVENTS.values()}


def test_each_event_is_logged_somewhere() -> None:
    sources = [*ROOT.glob("pam_pyhome/**/*.py"), *ROOT.glob("sshd/*.py"), *ROOT.glob("pam_pyhome/host/*.c")]
    used = set(re.findall(r"\b[A-Z][A-Z_]+\b", "".join(path.read_text() for path in sources if path.name != "events.py")))
    assert EVENTS.keys() - used == set()
