"""The digest of a proof's lock, as it left the machine."""

from pathlib import Path

from egressmon.verifying.witnesses.anchors import Anchors

ONE, OTHER = (f"blake3:{digit * 64}" for digit in "01")


def test_a_lock_is_one_of_those_that_are_anchored(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"12:00 egressmon anchor lock={ONE}\r\nmore\n")

    anchors = Anchors(str(log))

    assert anchors.why_no_lock(ONE) is None
    assert "has others" in str(anchors.why_no_lock(OTHER))


def test_without_anchors_of_locks_nothing_is_said_of_them(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"egressmon anchor run=a seq=1 head={ONE}\n")

    assert Anchors(str(log)).why_no_lock(OTHER) is None
