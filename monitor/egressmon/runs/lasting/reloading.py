"""Read the policy of a run that lasts again, and judge by it from there on."""

import os
from collections import Counter
from collections.abc import Callable

from egressmon.evidence.records.lasting import PolicyRecord
from egressmon.evidence.records.running import PolicyCounts
from egressmon.naming.names import trusted_resolvers
from egressmon.naming.resolution import PolicyResolution
from egressmon.pipeline import Pipeline
from egressmon.policy.errors import PolicyError
from egressmon.policy.judging.judge import Judge
from egressmon.policy.reading.file import LoadedPolicy, load_policy
from egressmon.policy.reading.place import read_open
from egressmon.runs.recorder import Recorder
from egressmon.runs.state import RunState
from egressmon.sidecar.permissions import ROOT, Caller

MAX_RELOADS = 100
"""Each policy is counted apart to the end of the run."""
_FULL = "the evidence takes no record of it now: the policy stays as it is"


class Reloading:
    """The policies of one run, one after the other.

    The file is opened by the keeper, which has the rights to, and read here.
    """

    def __init__(
        self, state: RunState, recorder: Recorder, open_policy: Callable[[], int]
    ) -> None:
        """`open_policy` opens the policy's file; it raises OSError."""
        self._state = state
        self._recorder = recorder
        self._open = open_policy
        self._loaded = state.options.loaded
        self._before: list[PolicyCounts] = []
        self._counted: tuple[Counter[str], Counter[str]] = Counter(), Counter()
        """What was judged by the policies before this one."""

    def reload(self, pipeline: Pipeline, caller: Caller, reason: str) -> str:
        """Judge by the policy as it is in its file now; return why not, or "".

        `caller` asked for it, and may, as `reason` says. If it fails, all stays as it
        was. That the evidence has the change is sure before anything is judged by it.
        """
        if len(self._before) >= MAX_RELOADS:
            return f"the policy was reloaded {MAX_RELOADS} times: that is all in a run"
        try:
            loaded = self._read()
        except PolicyError as error:
            return f"{error} ({error.hint})"
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            return f"the policy cannot be opened: {why}"
        if loaded.digest == self._loaded.digest:
            return ""
        return self._change(loaded, pipeline, caller, reason)

    # Raises PolicyError, OSError and ValueError.
    def _read(self) -> LoadedPolicy:
        path = self._loaded.path
        if path is None:
            raise ValueError("the run began without a policy file")
        descriptor = self._open()
        try:
            standing = self._state.options.standing
            starter = standing.starter if standing is not None else ROOT
            file = read_open(path, descriptor, frozenset({ROOT, starter}))
        finally:
            os.close(descriptor)
        loaded = load_policy(file)
        if loaded.warning and loaded.warning != self._loaded.warning:
            raise PolicyError(
                f"not used: {loaded.warning}", "the run goes on with the one before"
            )
        enforce = self._loaded.policy.enforce
        if loaded.policy.enforce != enforce:
            raise PolicyError(
                f'{path}: enforce is "{loaded.policy.enforce}" now, and the run began '
                f'with "{enforce}", which its exit status rests on',
                "begin another run",
            )
        return loaded

    def _change(
        self, loaded: LoadedPolicy, pipeline: Pipeline, caller: Caller, reason: str
    ) -> str:
        state = self._state
        resolvers = trusted_resolvers(loaded.policy, state.resolver)
        search = state.resolver.search
        judge = Judge(loaded.policy, resolvers, search)
        resolution = PolicyResolution(loaded.policy, state.knowledge.names, search)
        pipeline.settle()
        counts = self._counts()
        if not self._is_recorded(loaded, judge, counts, caller, reason):
            return _FULL
        self._before.append(counts)
        self._counted = _now(state)
        self._loaded = loaded
        resolution.start()
        for place in pipeline.judge_by(judge, resolution.finish):
            self._recorder.record(place)
        return ""

    def _is_recorded(
        self,
        loaded: LoadedPolicy,
        judge: Judge,
        counts: PolicyCounts,
        caller: Caller,
        reason: str,
    ) -> bool:
        evidence = self._state.evidence
        missing = evidence.lost, evidence.left_out
        self._recorder.record(
            PolicyRecord(
                policy=str(loaded.path),
                policy_digest=loaded.digest or "",
                before=counts.policy_digest,
                resolvers=sorted(map(str, judge.resolvers)),
                reason=reason,
                pid=caller.pid or None,
                uid=caller.uid,
                inside=caller.is_inside if caller.is_pinned else None,
                connections=counts.connections,
                queries=counts.queries,
            )
        )
        is_there = missing == (evidence.lost, evidence.left_out)
        return is_there and evidence.failure is None

    def _counts(self) -> PolicyCounts:
        connections, queries = _now(self._state)
        before = self._counted
        return PolicyCounts(
            policy_digest=self._loaded.digest or "",
            connections=dict(connections - before[0]),
            queries=dict(queries - before[1]),
        )

    def digests(self) -> list[str]:
        """Return the digest of each policy that the run was judged by, in order."""
        before = [one.policy_digest for one in self._before]
        return [*before, self._loaded.digest] if self._loaded.digest else before

    def policies(self) -> list[PolicyCounts]:
        """Return what was judged by each policy; empty if there was but one."""
        return [*self._before, self._counts()] if self._before else []


def _now(state: RunState) -> tuple[Counter[str], Counter[str]]:
    tally = state.tally
    return Counter(tally.connections), Counter(tally.queries)
