"""The summaries of a proof hold no secret, and no markup of the command's."""

import json
from collections import Counter

from egressmon.proofs.judging import claimed
from egressmon.proofs.judging.criteria import Criterion, RunReport
from egressmon.proofs.judging.facts import Facts, Peer
from egressmon.proofs.judging.summary import SummaryOf, page, run_summary, whole_summary
from egressmon.proofs.plans.file import plan_of_command
from egressmon.sanitise.redaction import scan_text

SECRET = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc"


def about(text: str) -> SummaryOf:
    criteria = [Criterion("phases", "unproven", text, [text])]
    loaded = plan_of_command(["true"], [])
    return SummaryOf(loaded, None, criteria, [], "now", 1.0, "0.1.0")


def test_escaping_hides_no_secret() -> None:
    assert scan_text(SECRET)

    made = page(about(f"said {SECRET}"))

    assert SECRET.encode() not in made.replace(b"\\", b"")
    assert SECRET.encode() not in whole_summary(about(f"said {SECRET}"))


def test_what_a_command_says_is_no_markup() -> None:
    assert b"a\\|b\\*c&lt;d" in page(about("a|b*c<d"))


def test_what_is_left_out_of_a_list_is_said() -> None:
    peers = [
        Peer("a", "send", (), "192.0.2.1", n, "udp", "allowed", False)
        for n in range(1, 1503)
    ]
    facts = Facts(peers=Counter(peers), resolvers={f"192.0.2.{n}" for n in range(1200)})
    report = RunReport(1, facts, [], [])
    criteria = [Criterion("phases", "unproven", "", [f"no {n}" for n in range(1001)])]
    loaded = plan_of_command(["true"], [])
    whole = SummaryOf(loaded, None, criteria, [report], "now", 1.0, "0.1.0")

    found = json.loads(whole_summary(whole))
    assert len(found["destinations"]) == 1000
    assert found["left_out"] == {"destinations": 502}
    (one,) = found["criteria"]
    assert (len(one["details"]), one["details"][-1]) == (1001, "… and 1 more")
    shown = page(whole).decode()
    assert "502 more destinations are left out." in shown
    assert "… and 1 more" in shown
    of_run = json.loads(run_summary(report, criteria, [], {}))
    assert of_run["left_out"] == {
        "destinations": 502,
        "packages": 0,
        "routes": 0,
        "resolvers": 200,
    }


def test_doubts_are_told_from_what_is_known_in_a_list_that_was_cut() -> None:
    known = [f"known {n}" for n in range(1500)]
    for doubts in ([], ["mine", "mine, too"]):
        made = [Criterion("nothing lost", "unproven", "", [*doubts, *known])]
        report = RunReport(1, Facts(), [], [])
        summary = json.loads(run_summary(report, made, [], {}))

        assert claimed.doubts(summary, "nothing lost", known) == doubts
        assert claimed.doubts(summary, "nothing lost", ["other", *known[1:]]) == []
