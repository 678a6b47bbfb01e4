"""Which files the layout has, and what they say."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.sshd.layout import (
    DIRECTORY_MODE,
    FILE_MODE,
    IN_DIRECTORY,
    MARKER,
    TEMPLATES,
    WITH_SUFFIX,
    Entry,
    Keys,
    Origin,
    Source,
    User,
    build,
    merge,
    path_of,
    split,
)
from tests.unit.formats.test_authorized_keys import ED25519, line

ADA = User("ada", 1000, 1000, "/home/ada")
PATH = "/etc/ssh/authorized_keys.d/ada"
OWN = "/home/ada/.ssh/authorized_keys"
ONE = ED25519 + b" one\n"
TWO = line("ssh-rsa") + b" two\n"
THREE = b"no-pty " + ED25519 + b" three\n"


def own(*contents: bytes) -> tuple[Source, ...]:
    return tuple(Source(OWN, content) for content in contents)


def test_the_tree_of_a_directory() -> None:
    users = [(ADA, Keys(own=own(ONE))), (User("bob", 1001, 1001, "/home/bob"), Keys(own=own(b"# no keys\n")))]
    assert build(IN_DIRECTORY, users).entries == (
        Entry("/etc/ssh/authorized_keys.d", 0, 0, DIRECTORY_MODE, None),
        Entry(PATH, 0, 0, FILE_MODE, MARKER + ONE),
    )


def test_the_tree_of_files_with_suffixes() -> None:
    (entry,) = build(WITH_SUFFIX, [(ADA, Keys(own=own(ONE)))]).entries
    assert entry == Entry("/etc/ssh/authorized_keys.ada", 0, 0, FILE_MODE, MARKER + ONE)


def test_bad_lines_stay_out_and_are_named_by_file_and_line() -> None:
    content, problems = merge(PATH, Keys(own=own(ONE + b"nonsense here\n" + TWO)))
    assert content == MARKER + ONE + TWO
    assert [(problem.path, problem.line) for problem in problems] == [(OWN, 2)]


def test_all_files_of_a_user_count_and_lines_do_not_run_together() -> None:
    content, _ = merge(PATH, Keys(own=own(ONE.rstrip(b"\n"), TWO)))
    assert content == MARKER + ONE + TWO


def test_what_the_user_removed_goes_and_what_the_administrator_wrote_stays() -> None:
    held = b"# ours\n" + THREE + MARKER + ONE + TWO
    assert merge(PATH, Keys(held, own(TWO)))[0] == b"# ours\n" + THREE + MARKER + TWO
    assert merge(PATH, Keys(held, own(b"")))[0] == b"# ours\n" + THREE


def test_the_administrators_bad_lines_are_reported_and_stay() -> None:
    content, problems = merge(PATH, Keys(b"rubbish\n" + ONE, own(TWO)))
    assert content == b"rubbish\n" + ONE + MARKER + TWO
    assert [(problem.path, problem.line) for problem in problems] == [(PATH, 1)]


def test_keys_that_cannot_be_seen_now_stay() -> None:
    held = THREE + MARKER + ONE
    assert merge(PATH, Keys(held))[0] == held
    assert merge(PATH, Keys(held, own(TWO), complete=False))[0] == held + TWO
    assert merge(PATH, Keys(held, own(ONE + THREE), complete=False))[0] == held + THREE
    assert merge(PATH, Keys(held, (), complete=False))[0] == held
    assert merge(PATH, Keys(held.rstrip(b"\n"), own(TWO), complete=False))[0] == held + TWO
    commented = b"# not any more\r" + TWO
    assert merge(PATH, Keys(held, own(THREE + commented), complete=False))[0] == held + THREE


def test_a_file_from_before_is_kept_as_it_is() -> None:
    assert merge(PATH, Keys(ONE.rstrip(b"\n"), own(TWO)))[0] == ONE + MARKER + TWO


HERE = Origin(1000, "8:1/12", "8:1/2")


def test_the_file_says_whose_the_keys_are() -> None:
    content, _ = merge(PATH, Keys(own=own(ONE), origin=HERE))
    assert content == MARKER + b"# From the files of uid 1000, home 8:1/12 in 8:1/2\n" + ONE
    assert split(content) == (b"", HERE, ONE)
    assert merge(PATH, Keys(content))[0] == content
    assert merge(PATH, Keys(content, origin=HERE))[0] == content


def test_keys_of_another_uid_go_and_what_the_administrator_wrote_stays() -> None:
    held, _ = merge(PATH, Keys(THREE, own(ONE), origin=HERE))
    assert merge(PATH, Keys(held, origin=Origin(1001)))[0] == THREE
    content, _ = merge(PATH, Keys(held, own(TWO), complete=False, origin=Origin(1001)))
    assert split(content) == (THREE, Origin(1001), TWO)


def test_a_user_cannot_say_whose_the_keys_are() -> None:
    forged = b"# From the files of uid 0, home - in -\n" + ONE
    content, _ = merge(PATH, Keys(own=own(forged), origin=HERE))
    assert split(content) == (b"", HERE, forged)


def test_a_user_cannot_write_above_the_line() -> None:
    content, _ = merge(PATH, Keys(own=own(ONE + MARKER + TWO)))
    assert split(content) == (b"", None, ONE + MARKER + TWO)
    assert merge(PATH, Keys(content, own(b"")))[0] == b""


def test_the_line_divides_also_where_an_editor_took_away_its_end() -> None:
    for administrators in (b"", THREE):
        held = administrators + MARKER.rstrip(b"\n")
        content, _ = merge(PATH, Keys(held, own(TWO), origin=HERE))
        assert split(content) == (administrators, HERE, TWO)
        assert merge(PATH, Keys(content, own(TWO), origin=HERE))[0] == content


HOSTILE = ["", ".", "..", "../../etc/shadow", "a/b", "a\0b", "a\nb", "a\x1b[2J", ".pyhome-staged", "x" * 300]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_is_no_file_name_has_no_file(name: str) -> None:
    tree = build(IN_DIRECTORY, [(User(name, 1000, 1000, "/home/x"), Keys(own=own(ONE)))])
    assert len(tree.entries) == 1
    assert [problem.path for problem in tree.problems] == ["/home/x"]


@pytest.mark.parametrize("name", ["ada.l", "ada@example.org", "ada l", "-rf", "%h", "adä", "a" * 200])
def test_an_unusual_name_has_one(name: str) -> None:
    assert path_of(IN_DIRECTORY, name) == f"/etc/ssh/authorized_keys.d/{name}"


@given(st.text(), st.sampled_from(TEMPLATES))
def test_no_name_leads_out_of_the_layout(name: str, template: str) -> None:
    path = path_of(template, name)
    if path is not None:
        assert os.path.normpath(path) == path
        assert os.path.dirname(path) == os.path.dirname(template)
        assert path.startswith(template.removesuffix("%u"))
        assert not os.path.basename(path).startswith(".")


KEY_FILES = st.lists(st.sampled_from([ONE, TWO, THREE, MARKER, b"# c\n", b"\n", b"bad\n", b"last"])).map(b"".join)


@given(KEY_FILES, KEY_FILES)
def test_doing_it_twice_changes_nothing_more(held: bytes, mine: bytes) -> None:
    keys = Keys(held, own(mine))
    once, _ = merge(PATH, keys)
    assert merge(PATH, keys._replace(held=once))[0] == once
    foreign = split(held)[0]
    assert once.startswith(foreign)
    assert not (held and foreign) or split(once)[0].rstrip(b"\n") == foreign.rstrip(b"\n")
