"""The policy that a run was judged by: found by its digest, and by nothing else."""

import hashlib
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egressmon.files.bounded import open_regular
from egressmon.policy.errors import PolicyError
from egressmon.policy.judging.judge import Judge
from egressmon.policy.language.default import DEFAULT
from egressmon.policy.language.search import SearchList
from egressmon.policy.reading.file import PROJECT, load_policy
from egressmon.policy.reading.place import PolicyFile
from egressmon.reports.proposing.learned_policy import LEARNING

if TYPE_CHECKING:
    from egressmon.policy.language.model import AnyPolicy

_MAX_BYTES = 16 << 20


class NoPolicyError(Exception):
    """The policy of a run is not there; the message says which."""


class Policies:
    """The policy files that evidence may have been judged by."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Take the files at `paths`; what cannot be read is none."""
        self._by_digest: dict[str, tuple[Path, bytes]] = {}
        for path in paths:
            data = _content(path)
            if data is not None:
                digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
                self._by_digest[digest] = Path(path), data

    @property
    def digests(self) -> dict[str, str]:
        """The path of each policy, by digest."""
        return {digest: str(path) for digest, (path, _) in self._by_digest.items()}

    def judge(self, start: dict[str, Any]) -> Judge:
        """Return the judge of the run that began with the record `start`.

        Raises NoPolicyError, and ValueError if the record makes no sense.
        """
        policy = self._policy(start)
        resolvers = frozenset(map(ipaddress.ip_address, start["resolvers"]))
        named = policy.dns.resolvers
        if named != "system" and resolvers != frozenset(
            map(ipaddress.ip_address, named)
        ):
            raise ValueError("they are others than the policy trusts")
        domains = tuple(start.get("search", ()))
        return Judge(policy, resolvers, SearchList(domains, start.get("ndots", 1)))

    def _policy(self, start: dict[str, Any]) -> "AnyPolicy":
        digest = start["policy_digest"]
        if digest is None:
            return LEARNING if start.get("policy_kind") == "learning" else DEFAULT
        if digest not in self._by_digest:
            raise NoPolicyError(f"the policy is not here ({digest}): name it: --policy")
        path, data = self._by_digest[digest]
        try:
            return _parsed(path, data)
        except PolicyError as error:
            raise NoPolicyError(f"{path} is no policy: {error}") from error


# A copy of a pyproject.toml may have another name.
def _parsed(path: Path, data: bytes) -> "AnyPolicy":
    try:
        return load_policy(PolicyFile(path, data)).policy
    except PolicyError:
        if b"egressmon" not in data:
            raise
        return load_policy(PolicyFile(path.with_name(PROJECT), data)).policy


def _content(path: str) -> bytes | None:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError):
        return None
    return data if len(data) <= _MAX_BYTES else None
