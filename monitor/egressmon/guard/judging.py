"""The policy's word on an attempt: by the same rules as `egressmon policy explain`."""

import os
from pathlib import Path

from egressmon.guard.attempts import Attempt
from egressmon.guard.destinations import HostPort
from egressmon.guard.source import Source
from egressmon.naming.names import read_hosts_file, read_resolver, trusted_resolvers
from egressmon.policy.errors import PolicyError
from egressmon.policy.judging.judge import Judge, Verdict
from egressmon.policy.judging.questions import Asked, Destination, Listener, Origin
from egressmon.policy.language.names import canonical
from egressmon.policy.reading.file import find_policy, load_policy
from egressmon.policy.reading.place import PolicyFile

_RESOLV_CONF = Path("/etc/resolv.conf")
_HOSTS = Path("/etc/hosts")


class Rules:
    """A policy as it judges this process; one that cannot be used refuses all."""

    def __init__(self, judge: Judge | None, problem: str = "") -> None:
        self._judge = judge
        self.problem = problem
        self._origin = Origin(exe=_executable(), route="python-socket", bypass=False)
        hosts = read_hosts_file(_HOSTS)
        self._hosts = frozenset(canonical(name) for _, name in hosts)
        self._pointed = frozenset(address for address, _ in hosts)

    def judge(
        self, attempt: Attempt, names: tuple[str, ...], *, is_local: bool
    ) -> Verdict:
        """Return the verdict on `attempt`.

        `names` are those that this process looked up and was told the address for;
        `is_local` says that loopback is open here, as to a listener inside the scope.
        """
        if self._judge is None:
            return Verdict("violation", None, f"the policy is not used: {self.problem}")
        if attempt.kind == "lookup":
            return self._look_up(self._judge, attempt.host)
        if attempt.kind == "pointer":
            return self._pointer(self._judge, attempt, names)
        listener: Listener | None = None
        if attempt.address is not None and attempt.address.is_loopback:
            listener = "scope" if is_local else "outside"
        target = Destination(
            attempt.address,
            attempt.port,
            attempt.protocol,
            names if attempt.address is not None else (attempt.host,),
            listener,
        )
        return self._judge.connection(target, self._origin)

    def explain(self, wanted: HostPort, *, is_local: bool) -> Verdict:
        """Return the verdict on a destination that nothing has asked for yet."""
        if isinstance(wanted.host, str):
            attempt = Attempt(
                "connect", wanted.host, None, wanted.port, wanted.protocol
            )
        else:
            host = str(wanted.host)
            attempt = Attempt(
                "connect", host, wanted.host, wanted.port, wanted.protocol
            )
        return self.judge(attempt, (), is_local=is_local)

    # libc reads the hosts file itself: nobody is asked for the names in it.
    def _look_up(self, judge: Judge, name: str) -> Verdict:
        verdict = judge.query(name, next(iter(judge.resolvers)))
        if verdict.word == "violation" and name in self._hosts and not verdict.rule:
            return Verdict("local", None, "it is in /etc/hosts")
        return verdict

    def _pointer(
        self, judge: Judge, attempt: Attempt, names: tuple[str, ...]
    ) -> Verdict:
        assert attempt.address is not None  # noqa: S101 -- a pointer's has one
        if attempt.address in self._pointed:
            return Verdict("local", None, "it is in /etc/hosts")
        name = attempt.address.reverse_pointer
        asked = Asked(is_learned=bool(names))
        return judge.query(name, next(iter(judge.resolvers)), asked)


def nearest(start: Path, digest: str | None = None) -> Source:
    """Return the policy that `watch` would take at `start`, or why there is none."""
    try:
        found = find_policy(start)
    except (PolicyError, OSError) as error:
        return Source(str(start), problem=str(error), digest=digest)
    if found is None:
        why = "no policy file was found there or above"
        return Source(str(start), problem=why, digest=digest)
    return Source(str(found.path), found.data, digest=digest)


def rules_of(source: Source) -> Rules:
    """Return the rules in `source`; those of one that cannot be used refuse all."""
    if source.problem is not None:
        return Rules(None, f"{source.path}: {source.problem}")
    file = PolicyFile(Path(source.path), source.data)
    try:
        policy = load_policy(file, source.digest).policy
    except PolicyError as error:
        return Rules(None, str(error))
    except Exception as error:  # noqa: BLE001 -- whatever it is, nothing is allowed
        return Rules(None, f"{source.path}: {type(error).__name__}: {error}")
    resolver = read_resolver(_RESOLV_CONF)
    return Rules(Judge(policy, trusted_resolvers(policy, resolver), resolver.search))


def _executable() -> str | None:
    try:
        return os.readlink("/proc/self/exe")  # noqa: PTH115 -- as the kernel says it
    except OSError:
        return None
