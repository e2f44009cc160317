"""Hatchling's build hook: compiles the probes, which every wheel contains."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProbesHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles `*.bpf.o` before a wheel or an editable install is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 -- hatchling's names
        """Compile the probes into the source tree, where the wheel picks them up."""
        source = Path(self.root, "probes/egressmon/probes/compile.py")
        runpy.run_path(str(source))["compile_probes"]()
