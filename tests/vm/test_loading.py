"""Older verifiers take the probes, of either engine, with room to spare."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

VMTEST = Path(__file__).parents[2] / "scripts/vmtest"
# A program may cost the verifier 1,000,000 steps. Twice the room, so that the next
# version of the compiler or of the kernel still takes it.
LIMIT = 500_000
LOAD = """\
import json
from egressmon.probes.loaders import bcc, libbpf
from egressmon.probes.errors import ProbeError

def costs(loaded):
    if isinstance(loaded, ProbeError):
        return None
    found = {}
    for name, number in loaded.programs.items():
        for line in open(f"/proc/self/fdinfo/{number}"):
            if line.startswith("verified_insns:"):
                found[name] = int(line.split()[1])
    return found

probes, frames = libbpf.load_with_frames()
print(json.dumps({"libbpf": costs(probes), "frames": costs(frames),
                  "bcc": costs(bcc.load())}))
"""


# What a program cost is told since Linux 5.16; frames are read since 5.17 (bpf_loop).
@pytest.mark.parametrize("kernel", ["5.10", "6.1"])
def test_both_engines_load(kernel: str) -> None:
    tells = kernel != "5.10"
    words = [str(VMTEST), "--memory", "2G", kernel, "--", sys.executable, "-c", LOAD]

    done = subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=600
    )

    assert done.returncode == 0, done.stderr
    costs = json.loads(done.stdout)
    assert (costs["frames"] is not None) == tells
    for engine in ("libbpf", "bcc"):
        assert bool(costs[engine]) == tells
        assert {n: c for n, c in costs[engine].items() if c > LIMIT} == {}
