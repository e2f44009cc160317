"""Run `egressmon watch` and keep all that the probes sent.

python -I record.py FILE watch --quiet -- COMMAND

FILE gets the batches of events and mappings, as replay.py reads them. Needs root.
"""

import pickle
import sys
from pathlib import Path

from egressmon import start
from egressmon.sensor.intake import Batch
from egressmon.sensor.sensor import Sensor


def main() -> None:
    """Record what the run that the arguments describe reads."""
    # Opened now: the process that reads the events has no right to open a file.
    file = Path(sys.argv.pop(1)).open("wb", buffering=0)  # noqa: SIM115 -- to the end
    read = Sensor.read

    def keep(sensor: Sensor) -> Batch:
        batch = read(sensor)
        # By names, so that versions with other classes can read it.
        mapped = [
            (type(one).__name__, [getattr(one, name) for name in one.__annotations__])
            for one in batch.mapped
        ]
        kept = batch.events, mapped, batch.lost_mappings
        file.write(pickle.dumps(kept))
        return batch

    Sensor.read = keep  # type: ignore[method-assign] -- for this process alone
    start.main()


if __name__ == "__main__":
    main()
