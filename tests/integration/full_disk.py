"""Write evidence in segments to a small disk that becomes full. Run by a test.

    full_disk.py MOUNTPOINT COPY freed|full|unreserved

It is mounted here, so this needs a mount namespace of its own.
"""

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

from egressmon import files
from egressmon.clock import Clock
from egressmon.evidence.output import EvidenceState
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.evidence.segmented import SegmentedEvidence
from egressmon.evidence.segments import Segments
from support.events import flow
from support.recorded import POLICY, SCENARIO, record
from support.replaying import RUN, ProcessesGone

SIZE = 512 << 10
MANY = [*SCENARIO[:-1], *(flow("203.0.113.9", 443),) * 400, SCENARIO[-1]]


class Filling(SegmentedEvidence):
    """Evidence on a disk that others fill, and empty again."""

    def __init__(self, folder: Path, clock: Clock, scenario: str) -> None:
        opened = PlainFolder.at(str(folder))
        times = count()
        reserve = None
        if scenario != "unreserved":
            reserve = opened.open_reserve(64 << 10)
        segments = Segments(
            opened,
            RUN,
            reserve=reserve,
            max_bytes=20_000,
            now_s=lambda: next(times) / 10,
        )
        super().__init__(segments, clock)
        self._folder = folder
        self._scenario = scenario
        self._count = 0
        self.state: EvidenceState | None = None

    def put(self, rendered, ktime_ns):  # type: ignore[no-untyped-def]
        """Have the disk full from one record on, and not any more from another."""
        self._count += 1
        if self._count == 100:
            with suppress(OSError), (self._folder / "filling").open("wb", 0) as file:
                while file.write(b"\0" * 1024):
                    pass
        if self._count == 300 and self._scenario == "freed":
            (self._folder / "filling").unlink()
        return super().put(rendered, ktime_ns)

    def examine(self) -> EvidenceState:
        """Keep what was found."""
        self.state = super().examine()
        return self.state


def main(mounted: Path, copy: Path, scenario: str) -> None:
    """Write, copy what there is, and print what is said of it."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(mounted)], check=True
    )
    opener = ProcessesGone()
    files._opener = opener  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    made: list[Filling] = []

    def make(clock: Clock) -> Filling:
        made.append(Filling(mounted, clock, scenario))
        return made[0]

    record(mounted / "none", MANY, make=make)
    shutil.copytree(mounted, copy, ignore=shutil.ignore_patterns("filling"))
    (copy / "policy.toml").write_text(POLICY)
    (evidence,) = made
    said = {
        "failure": evidence.failure, "lost": evidence.lost, "state": evidence.state
    }  # fmt: skip
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
