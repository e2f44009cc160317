"""The state of a run: made before any probe is attached, kept to the run's end."""

import ipaddress
from pathlib import Path

from egressmon import host
from egressmon.attribution.descent import OF_COMMAND, UNKNOWN
from egressmon.attribution.processes import Processes
from egressmon.clock import Clock
from egressmon.evidence.segmented import SegmentedEvidence
from egressmon.evidence.tally import Tally
from egressmon.evidence.writer import Evidence
from egressmon.faults import Faults
from egressmon.files.beginning import Beginning
from egressmon.naming.names import Names, Resolver, read_resolver, trusted_resolvers
from egressmon.naming.resolution import PolicyResolution
from egressmon.policy.judging.judge import Judge
from egressmon.runs.assemble import Knowledge
from egressmon.runs.plan import Ending, RunOptions
from egressmon.sensor.canary import CanaryWatch
from egressmon.values import dataclass, replace

_STUB = ipaddress.ip_address("127.0.0.53")
_BEHIND_STUB = Path("/run/systemd/resolve/resolv.conf")


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run is asked to do, what it has learned, and where it writes."""

    options: RunOptions
    clock: Clock
    began_ns: int
    process_began_s: float
    """When this process began, in seconds since boot."""
    evidence: Evidence
    faults: Faults
    tally: Tally
    ending: Ending
    knowledge: Knowledge
    beginning: Beginning
    resolution: PolicyResolution
    resolver: Resolver
    """The system's, as it was at the start."""
    judge: Judge


def make_state(options: RunOptions, identifier: str) -> RunState:
    """Return the state of a new run that is called `identifier`."""
    clock = Clock()
    names = Names()
    beginning = Beginning(
        host.home_of(options.user.uid),
        machine=options.standing is not None and host.proc_is_ours(),
    )
    processes = Processes(
        proc_is_ours=host.proc_is_ours(),
        argv=options.argv,
        beginning=beginning,
        strangers=UNKNOWN if options.standing is not None else OF_COMMAND,
    )
    policy = options.loaded.policy
    resolver = _resolver(is_lasting=options.standing is not None)
    evidence = _evidence(options, identifier, clock)
    evidence.anchor = options.anchor
    return RunState(
        options=options,
        clock=clock,
        began_ns=clock.now_ns(),
        process_began_s=host.process_start_s(),
        evidence=evidence,
        faults=Faults(verbose=options.verbose),
        tally=Tally(),
        ending=Ending(),
        knowledge=Knowledge(names, processes, CanaryWatch()),
        beginning=beginning,
        resolution=PolicyResolution(policy, names, resolver.search),
        resolver=resolver,
        judge=Judge(policy, trusted_resolvers(policy, resolver), resolver.search),
    )


# A run that sees the whole machine also sees what systemd's stub asks for others, and
# engines give their containers that stub's own servers.
def _resolver(*, is_lasting: bool) -> Resolver:
    resolver = read_resolver(Path("/etc/resolv.conf"))
    if not is_lasting or _STUB not in resolver.servers or not _BEHIND_STUB.exists():
        return resolver
    servers = (*resolver.servers, *read_resolver(_BEHIND_STUB).servers)
    return replace(resolver, servers=servers)


def _evidence(options: RunOptions, identifier: str, clock: Clock) -> Evidence:
    if options.standing is not None:
        segments = options.standing.segments
        return SegmentedEvidence(segments, clock, options.evidence_limit)
    return Evidence(
        options.evidence_file,
        identifier,
        clock,
        options.evidence_error,
        options.evidence_limit,
        options.evidence_path,
    )
