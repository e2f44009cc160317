"""The script that learns from real tools: its two places, and what it reports."""

import ipaddress
from pathlib import Path

from places import HERE, THERE, WHOLE
from relearn import Result, report
from tools import TOOLS


def test_the_two_places_have_nothing_in_common_but_the_names() -> None:
    here, there = HERE.leads_to(), THERE.leads_to()

    assert [name.partition(".")[0] for name in here] == [
        name.partition(".")[0] for name in there
    ]
    assert set(here) & set(there) == set(WHOLE)
    assert not set(here.values()) & set(there.values())
    assert HERE.resolver != THERE.resolver
    assert len(set(here.values())) == 1
    families = {ipaddress.ip_address(one).version for one in there.values()}
    assert families == {4, 6}


def test_what_was_said_of_a_run_that_was_not_clean_is_below_the_table() -> None:
    git = Result(TOOLS["git"], 1, {"here": 5, "there": 4}, ["there: 1 violation"])

    table, said = report([git], 5).split("\n\n")

    assert table.splitlines()[-1].endswith("| 1 | 5 | 4 | **9 of 10** |")
    assert said == "there: 1 violation"


def test_a_tool_that_needs_no_suite_is_ready_at_once() -> None:
    assert TOOLS["git"].command(Path("/nowhere")).words[0] == "sh"
