"""Hatchling's build hook: compiles the probes, which every wheel contains.

A wheel holds the probes of every machine whose headers are there, and its tag names
those machines, so that no other gets it. `EGRESSMON_BUILD_MACHINES`, names with blanks
between, asks for certain ones; scripts/build-wheel does.
"""

import os
import runpy
import shutil
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROBES = "probes/egressmon/probes"
# What compiled code needs of the C library is for its own wheels to say (blake3,
# orjson): the probes need none. PyPI knows no other tag for Linux on a machine.
_PLATFORM = "manylinux_2_17_"


class ProbesHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles `*.bpf.o` before a wheel or an editable install is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the probes into the source tree, where the wheel picks them up."""
        code = runpy.run_path(str(Path(self.root, PROBES, "compile.py")))
        machines = code["machines"]()
        if version == "editable":
            machines = machines[:1]
        elif asked := os.environ.get("EGRESSMON_BUILD_MACHINES"):
            machines = asked.split()
        for left in Path(self.root, PROBES, "programs").glob("*/*.bpf.o"):
            if left.parent.name not in machines and version != "editable":
                shutil.rmtree(left.parent)
        for machine in machines:
            code["compile_probes"](machine=machine)
        if version != "editable":
            build_data["tag"] = tag_for(machines)


def tag_for(machines: list[str]) -> str:
    """Return the compatibility tag of a wheel with the probes of `machines`."""
    return "py3-none-" + ".".join(_PLATFORM + one for one in sorted(machines))
