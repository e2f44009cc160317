"""Folded text fits, loses nothing, and begins no command."""

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from egressmon.reports.writing.layout import fold, hanging
from egressmon.text import printable

HOSTILE = st.text(
    st.sampled_from("ab :/.-漢字ｗ\u0301\u0e33\ufe0f☺é🙂\u202e\x1b\n\\#[")
    | st.characters(),
    max_size=300,
).map(printable)
WIDTHS = st.integers(20, 200)


def squeezed(text: str) -> str:
    """Return `text` without blanks, and without the escape of colons."""
    return text.replace(" ", "").replace("\\x3a", ":")


@given(HOSTILE, WIDTHS)
def test_no_line_is_longer_and_nothing_is_lost(text: str, width: int) -> None:
    lines = fold(text, width)

    assert all(cell_len(line) <= width for line in lines)
    assert squeezed("".join(lines)) == squeezed(text)
    assert not any(line.startswith("::") for line in lines[1:])


@given(HOSTILE, WIDTHS, st.integers(0, 6))
def test_an_indent_counts(text: str, width: int, indent: int) -> None:
    lines = list(hanging(text, width, indent))

    assert all(cell_len(line) <= width for line in lines)
    assert squeezed("".join(lines)) == squeezed(text)


def test_a_mark_stays_with_its_letter() -> None:
    assert fold("e\u0301" * 30, 20) == ["e\u0301" * 20, "e\u0301" * 10]


def test_a_test_is_broken_after_a_punctuation_mark() -> None:
    whole = "tests/test_net.py::test_of_a_long_name"

    assert fold(whole, 20) == ["tests/test_net.py::", "test_of_a_long_name"]


def test_words_stay_whole() -> None:
    assert fold("the job's summary page was replaced", 20) == [
        "the job's summary",
        "page was replaced",
    ]
