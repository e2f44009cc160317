"""Entries of an environment are replaced and removed by name, and keep their order."""

import pytest

from egressmon.startup import environment
from egressmon.startup.caller import changed_on_line

BLOCK = (b"A=1", b"A=2", b"odd", b"=x")


def test_entries_go_by_name_and_stay_in_order() -> None:
    assert environment.without(BLOCK, "A") == (b"odd", b"=x")
    assert environment.with_entry(BLOCK, b"A=3") == (b"A=3", b"odd", b"=x")
    assert environment.with_entry(BLOCK, b"B=3") == (*BLOCK, b"B=3")


@pytest.mark.parametrize(
    ("line", "block"),
    [
        ("sudo egressmon watch -- env B=1", b"A=0"),
        ("sudo B=1 egressmon watch", b"A=0 B=1"),
        ("sudo B=2 egressmon watch", b"A=0"),  # it did not arrive
        ("sudo -E -u root A=1 /x/egressmon", b"A=1"),
        ("sudo --prompt=B=1 egressmon", b"A=0"),
        ("sudo env -i B=1 egressmon", b"B=1"),
        ("sudo env - A=1 egressmon", b"A=1"),
        ("sudo env -u A egressmon", b""),
        ("sudo /usr/bin/env --unset=A B=1 nice egressmon", b"B=1"),
        ("sudo -i egressmon", b"A=0"),  # sudo's own option
    ],
)
def test_a_line_of_sudos_changes_what_it_says(line: str, block: bytes) -> None:
    words = tuple(line.encode().split())

    changed = changed_on_line((b"A=0",), words, frozenset((b"A=1", b"B=1")))

    assert changed == tuple(block.split())
