"""/etc/pyhome-shells: what is written is found again, and a crooked line harms nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_pyhome.errors import FormatError
from pam_pyhome.formats import shells

NAMES = st.binary(min_size=1, max_size=12).filter(shells.is_name)
PATHS = st.binary(max_size=12).filter(lambda path: b"\n" not in path and b"\0" not in path).map(lambda path: b"/" + path)


@given(st.dictionaries(NAMES, PATHS, max_size=5))
def test_what_is_written_is_read_and_found(known: dict[bytes, bytes]) -> None:
    data = shells.emit_shells(known)
    assert shells.parse_shells(data) == known
    assert {name: shells.find_shell(data, name) for name in known} == known


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (b"ada", b"/bin/bash"),
        (b"ad", None),
        (b"da", None),
        (b"eve", b"/bin/x y:z"),
        (b"relative", None),
        (b"empty", None),
        (b"first", b"/bin/1"),
        (b"last", b"/bin/end"),
        (b"# ada", None),
        (b"ada:/bin", None),
        (b"nobody", None),
    ],
)
def test_finding(name: bytes, found: bytes | None) -> None:
    data = b"first:/bin/1\nada:/bin/bash\nada:/bin/later\n# ada:/bin/comment\nnonsense\neve:/bin/x y:z\nrelative:bash\n"
    data += b"empty:\nlast:/bin/end"
    assert shells.find_shell(data, name) == found


@pytest.mark.parametrize("line", [b"ada", b":/bin/sh", b"ada:bash", b"ada:", b"ada:/bin/\0", b"eve:/bin/sh"])
def test_a_file_that_is_to_be_rewritten_is_read_strictly(line: bytes) -> None:
    with pytest.raises(FormatError):
        shells.parse_shells(b"# fine\n\neve:/bin/sh\n" + line + b"\n")


@pytest.mark.parametrize(("name", "path"), [(b"a:b", b"/bin/sh"), (b"#a", b"/bin/sh"), (b"a", b"sh"), (b"a", b"/bin/sh\nb:/x")])
def test_what_does_not_fit_is_not_written(name: bytes, path: bytes) -> None:
    with pytest.raises(FormatError):
        shells.emit_shells({name: path})
