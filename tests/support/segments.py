"""Evidence in segments, as the stages of a run really wrote it."""

from collections.abc import Sequence
from pathlib import Path

from egressmon.clock import Clock
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.evidence.segmented import SegmentedEvidence
from egressmon.evidence.segments import Segments
from support.events import flow
from support.recorded import POLICY, SCENARIO, record
from support.replaying import RUN

MANIFEST = f"{RUN}.manifest.json"
LONG = [*SCENARIO[:-1], *(flow("203.0.113.9", 443),) * 6, SCENARIO[-1]]


def record_segments(
    folder: Path, events: Sequence[bytes] = LONG, max_bytes: int = 4000
) -> None:
    """Write the evidence of a run with these `events` to `folder`, with its policy."""
    opened = PlainFolder.at(str(folder))

    def make(clock: Clock) -> SegmentedEvidence:
        segments = Segments(opened, RUN, max_bytes=max_bytes)
        return SegmentedEvidence(segments, clock)

    record(folder / "evidence.jsonl", events, make=make)
    opened.close()
    (folder / "policy.toml").write_text(POLICY)


def segments(folder: Path) -> list[Path]:
    """Return the segments in `folder`, in their order."""
    return sorted(folder.glob(f"{RUN}-*.jsonl"))
