"""The summaries of a proof hold no secret, and no markup of the command's."""

from egressmon.proofs.criteria import Criterion
from egressmon.proofs.plan_file import plan_of_command
from egressmon.proofs.summary import SummaryOf, page, whole_summary
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
