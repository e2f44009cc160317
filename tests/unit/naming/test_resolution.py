"""The policy's host names are resolved beside the run."""

import ipaddress
import subprocess
import sys

from egressmon.naming.names import Names
from egressmon.naming.resolution import PolicyResolution
from egressmon.policy.language.model import Allow, Policy
from egressmon.policy.language.search import NO_SEARCH

POLICY = Policy(version=1, allow=(Allow(host="localhost"),))


# What was connected while the probes were armed is judged before the run begins.
def test_what_is_seen_before_it_was_started_starts_it() -> None:
    resolution = PolicyResolution(POLICY, names := Names(), NO_SEARCH)

    resolution.finish()
    resolution.start()

    assert names.of(ipaddress.ip_address("127.0.0.1"), 0) != ()


# Where Python lies below /root, what it has not loaded yet cannot be read any more.
def test_to_resolve_loads_nothing_more() -> None:
    code = """
import sys
from egressmon.naming import resolution
before = set(sys.modules)
assert resolution._addresses("localhost")
print(*(set(sys.modules) - before))
"""

    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("\n", "")
