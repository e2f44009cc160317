"""Make an inventory of what the evidence of runs says."""

from collections.abc import Sequence

from egressmon.auditing.doubts import Doubts
from egressmon.auditing.evidence import told_in
from egressmon.auditing.inventory import Inventory
from egressmon.auditing.places import runs_at
from egressmon.auditing.probes import Probes


def inventory_of(paths: Sequence[str]) -> tuple[Inventory, list[str]]:
    """Return what the evidence at `paths` says was reached, and why it is not all.

    Raises UsageError for what cannot be read at all.
    """
    inventory, doubts = Inventory(), Doubts()
    for files in runs_at(paths, doubts):
        probes = Probes()
        for told in told_in(files, doubts):
            if not probes.has(told):
                inventory.add(told.record, told.phase)
    return inventory, doubts.lines()
