"""Feed what record.py kept to the stages again, and measure their CPU time.

replay.py FILE [LEVEL [ROUNDS]]     print the least CPU time of ROUNDS (3)
replay.py FILE LEVEL slowly         the same, with nothing remembered
replay.py FILE LEVEL profile        print where it goes

The evidence goes to FILE.jsonl. The clock is fixed, so that what two versions write can
be compared byte by byte. The processes are gone: whoever asks /proc is told so.
"""

import cProfile
import os
import pstats
import sys
import time
from pathlib import Path

os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
sys.path.append(str(Path(__file__).parents[2] / "tests"))

from egressmon import files
from egressmon.naming.names import read_hosts_file
from egressmon.policy.language.model import Dns, Policy
from support.replaying import ProcessesGone, Replay, batches_in

WAYS = {"remembers": True}
# Look-ups are allowed: those that violate a policy share records.
POLICY = Policy(version=1, dns=Dns(queries="any"))


def replay(path: Path, level: str) -> Replay:
    """Return the stages at `level`, with the evidence in `path`."""
    made = Replay(path, level, policy=POLICY, **WAYS)
    for address, name in read_hosts_file(Path("/etc/hosts")):
        made.names.learn(address, name, "hosts-file")
    return made


def main() -> None:
    """Replay the file that the arguments name."""
    recording, level, rounds = [*sys.argv[1:], *("full", "3")[len(sys.argv) - 2 :]]
    if rounds == "slowly":
        WAYS["remembers"], rounds = False, "3"
    files.use(ProcessesGone())
    batches = list(batches_in(Path(recording)))
    events = sum(len(batch.events) for batch in batches)
    out = Path(f"{recording}.jsonl")
    if rounds == "profile":
        profile = cProfile.Profile()
        profile.runcall(replay(out, level).process, batches)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    taken: list[float] = []
    for _ in range(int(rounds)):
        run = replay(out, level)
        began = time.process_time()
        run.process(batches)
        taken.append(time.process_time() - began)
        run.finish()
    print(
        f"{recording} {level}: {events} events, {min(taken) * 1e3:.1f} ms of CPU at "
        f"least, {min(taken) * 1e6 / events:.1f} us each"
    )


if __name__ == "__main__":
    main()
