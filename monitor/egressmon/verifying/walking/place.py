"""Verify what is at a path: a file of evidence, or a directory with some."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from blake3 import blake3

from egressmon.locking import EVIDENCE_LOCK, Lock, LockError
from egressmon.locking.comparing import differences
from egressmon.locking.form import parse, read_bytes
from egressmon.locking.making import SIGNATURES, Made, lock_of
from egressmon.locking.opening import open_itself
from egressmon.text import printable
from egressmon.verifying.findings import Finding, Findings, UnreadableError, Verified
from egressmon.verifying.rejudging.policies import Policies
from egressmon.verifying.result import Claim, Result, Wanted
from egressmon.verifying.sequence.parts import Files
from egressmon.verifying.walking.grouping import files_in, named_files
from egressmon.verifying.walking.inner import proofs_in
from egressmon.verifying.walking.one_run import policy_paths, search, verify_run
from egressmon.verifying.witnesses import criteria
from egressmon.verifying.witnesses.bundles import Identity, check_bundle
from egressmon.verifying.witnesses.signatures import (
    BadSignatureError,
    SignatureError,
    signer_of,
)

_EVIDENCE = "evidence.jsonl"
_MAX_SIGNATURE = 1 << 20
_OF_PROOF = "egressmon-proof/"
_OF_NOTHING = blake3(b"").hexdigest()
_DEEPEST = 8
"""How many proofs may be inside each other."""


def verify(path: str, wanted: Wanted, more: tuple[str, ...] = ()) -> Result:
    """Verify the file or the directory at `path`.

    `more` are further files of the same run, where that is in segments.
    """
    result = Result()
    if not more and os.path.isdir(path):  # noqa: PTH112 -- False where it may not be asked
        _Directory(path, wanted, result).verify()
        return result
    folders = sorted({str(Path(one).parent) for one in (path, *more)})
    policies = Policies(policy_paths(folders, wanted))
    findings = Findings(path)
    files = named_files((path, *more), findings)
    result.take(findings)
    verify_run(files, policies, wanted, result)
    return result


class _Directory:
    def __init__(
        self, path: str, wanted: Wanted, result: Result, depth: int = 0
    ) -> None:
        self._path = path
        self._depth = depth
        self._proofs: list[str] = []
        """The proofs below it, which are verified by themselves."""
        self._below: dict[str, Verified] = {}
        """Their evidence, by path."""
        self.runs: dict[str, Verified] = {}
        self._empty: list[str] = []
        """The evidence of runs that did not begin."""
        self._wanted = wanted
        self._result = result
        self._own = Findings(str(Path(path, EVIDENCE_LOCK)))
        self._lock: Lock | None = None
        self._data: bytes | None = None
        """The lock as it is written, malformed or not."""

    def verify(self) -> None:
        before = len(self._result.found) + len(self._result.unreadable)
        has_lock = os.path.lexists(self._own.path)
        made = self._read(has_lock)
        self._compare(made)
        self._find_proofs(made)
        if not has_lock and not self._proofs:
            self._result.notes.append(f"{self._path} has no {EVIDENCE_LOCK}")
        runs = self.runs = self._evidence(made)
        summary = self._summaries(made, runs)
        if self._wanted.judge is not None:
            for one in self._wanted.judge(self._path, runs):
                if isinstance(one, str):
                    self._result.notes.append(one)
                else:
                    self._result.found.append(one)
        self._others(made, runs)
        if has_lock or not self._proofs or runs.keys() - self._below.keys():
            self._signatures()
        self._result.take(self._own)
        after = len(self._result.found) + len(self._result.unreadable)
        self._claim(summary, is_as_made=before == after)
        if self._depth:
            return
        self._anchors()
        is_told = self._result.unreadable or (self._empty and summary is not None)
        if not runs and not is_told:
            self._result.unreadable.append(
                UnreadableError(
                    f"{self._path} has no evidence in it",
                    "name a file that `--evidence` wrote, or a directory with some",
                )
            )

    def _read(self, has_lock: bool) -> Made:  # noqa: FBT001
        if has_lock:
            self._read_lock()
        return self._made()

    # A proof below is verified as one: from here, it would only be some evidence.
    def _find_proofs(self, made: Made) -> None:
        self._proofs = proofs_in(made.lock.files)
        for one in self._proofs:
            self._result.inner.append(self._at(one))
            if self._depth >= _DEEPEST:
                what = f"proofs are more than {_DEEPEST} deep inside each other"
                error = UnreadableError(f"{self._at(one)}: {what}", "name one of them")
                self._result.unreadable.append(error)
                continue
            inner = _Directory(
                self._at(one), self._wanted, self._result, self._depth + 1
            )
            try:
                inner.verify()
            except UnreadableError as error:
                self._result.unreadable.append(error)
            self._below |= {f"{one}/{path}": run for path, run in inner.runs.items()}

    def _is_in_proof(self, path: str) -> bool:
        return any(path.startswith(f"{one}/") for one in self._proofs)

    def _claim(self, summary: Mapping[str, object] | None, *, is_as_made: bool) -> None:
        told = summary or {}
        verdict, reason = told.get("verdict"), told.get("reason")
        is_proof = str(told.get("schema")).startswith(_OF_PROOF) and "run" not in told
        if is_proof and isinstance(verdict, str) and isinstance(reason, str):
            claim = Claim(self._path, verdict, reason, is_as_made)
            self._result.proofs.append(claim)

    def _read_lock(self) -> None:
        try:
            self._data = read_bytes(self._own.path)
            self._lock = parse(self._data)
        except LockError as error:
            self._own.add("lock", f"malformed: {error}", error.line)

    def _made(self) -> Made:
        lock = self._lock
        try:
            return lock_of(
                self._path,
                EVIDENCE_LOCK,
                policy=lock.policy.path if lock and lock.policy else None,
                plan=lock.plan.path if lock and lock.plan else None,
                tools=lock.tools if lock else {},
            )
        except OSError as error:
            raise UnreadableError(
                f"{self._path} cannot be read: {error.strerror}", "see who may read it"
            ) from error

    def _compare(self, made: Made) -> None:
        if self._lock is None:
            for path, why in made.refused:
                self._result.notes.append(f"{self._at(path)} was left out: it is {why}")
            return
        for one in differences(self._lock, made, EVIDENCE_LOCK):
            finding = Finding(
                "lock", self._at(one.path), f"{one.word}: {one.message}", one.line
            )
            self._result.found.append(finding)

    def _at(self, path: str) -> str:
        return str(Path(self._path, path))

    # By path: what begins as evidence does, what the lock says is some, and what is
    # called so.
    def _evidence(self, made: Made) -> dict[str, Verified]:
        paths = {*made.lock.heads}
        paths |= {one for one in made.lock.files if Path(one).name == _EVIDENCE}
        if self._lock is not None:
            paths |= self._lock.heads.keys() & made.lock.files.keys()
        folders = sorted(
            {self._path, *(str(Path(self._at(one)).parent) for one in paths)}
        )
        named = self._policy_in_lock()
        policies = Policies(policy_paths(folders, self._wanted) + named)
        runs = {one: self._below[one] for one in paths & self._below.keys()}
        for one, below in sorted(runs.items()):
            if not below.more:
                self._same_as_before(one, below, made)
            self._same_policy(below)
        for files in self._runs(self._begun(paths, made), made):
            found = verify_run(files, policies, self._wanted, self._result)
            if found is None:
                continue
            runs[self._name(files.paths[0])] = found
            self._same_as_before(self._name(files.paths[-1]), found, made)
            self._same_policy(found)
        self._follow(runs.values())
        return dict(sorted(runs.items()))

    # A run says with which line the one before it ended, when that was cut off or went
    # on in it: nobody can have cut off more since.
    def _follow(self, runs: Iterable[Verified]) -> None:
        known = {run.run: run for run in runs if not run.is_part}
        for run in known.values():
            before = known.get(run.follows[0]) if run.follows is not None else None
            if run.follows is not None and before is None:
                run.remarks.append(
                    f"it goes on from the run {printable(run.follows[0])}, whose "
                    "evidence is not here"
                )
            if run.follows is None or before is None or before is run:
                continue
            if before.head == run.follows[1]:
                before.remarks.append(
                    f"the run {run.run} follows it, and names its end"
                )
                continue
            what = f"the run {run.run} follows it, and names another last line of it"
            path = before.more[-2] if len(before.more) > 1 else before.path
            self._result.found.append(Finding("truncated", path, what))

    # Those of `paths` that are of no proof below, and of a run that began.
    def _begun(self, paths: set[str], made: Made) -> set[str]:
        begun: set[str] = set()
        for one in sorted(paths):
            if made.lock.files.get(one) == _OF_NOTHING and self._is_of_proof(made, one):
                what = f"{self._at(one)} is empty: the run did not begin"
                self._result.notes.append(what)
                self._empty.append(one)
            elif not self._is_in_proof(one):
                begun.add(one)
        return begun

    # There, the summary must say that the run did not begin.
    def _is_of_proof(self, made: Made, path: str) -> bool:
        in_run = Path(path).parent.parent == Path()
        return in_run and criteria.SUMMARY in made.lock.files

    def _runs(self, paths: set[str], made: Made) -> list[Files]:
        names = [one for one in made.lock.files if not self._is_in_proof(one)]
        runs = files_in(self._path, names, sorted(paths), self._own)
        segments = {self._name(path) for one in runs for path in one.paths}
        for one in runs:
            if not one.paths:
                what = "missing: none of its segments is there"
                self._own.add("segment", what, path=one.manifest_path)
        alone = [Files((self._at(one),)) for one in paths - segments]
        return sorted((*(one for one in runs if one.paths), *alone), key=_first_path)

    def _name(self, path: str) -> str:
        return str(Path(path).relative_to(self._path))

    def _policy_in_lock(self) -> list[str]:
        lock = self._lock
        return [self._at(lock.policy.path)] if lock and lock.policy else []

    def _same_as_before(self, path: str, found: Verified, made: Made) -> None:
        before = made.lock.heads.get(path)
        is_whole = not (found.is_cut or found.is_converted)
        if before is not None and is_whole and before != found.head:
            what = "changed while it was verified"
            self._result.found.append(Finding("lock", found.path, what))

    # Where a policy is part of a proof, a run by another one is none of the proof's.
    def _same_policy(self, found: Verified) -> None:
        pinned = self._lock.policy if self._lock is not None else None
        if pinned is None or found.policy_digest == pinned.digest:
            return
        what = f"was judged by another policy than {pinned.path}: {found.policy_digest}"
        self._result.found.append(Finding("policy", found.path, what, 1))

    # Returns that of the whole proof, if there is one.
    def _summaries(
        self, made: Made, runs: dict[str, Verified]
    ) -> Mapping[str, object] | None:
        whole: Mapping[str, object] | None = None
        for path in sorted(made.lock.files):
            if Path(path).name != criteria.SUMMARY or self._is_in_proof(path):
                continue
            findings = Findings(self._at(path))
            try:
                summary = criteria.read_summary(findings.path)
                whole = summary if path == criteria.SUMMARY else whole
                for what in self._overclaims(path, summary, runs):
                    findings.add("criteria", what)
            except criteria.NoSummaryError as error:
                findings.add("criteria", str(error))
            self._result.take(findings)
        return whole

    def _overclaims(
        self, path: str, summary: dict[str, object], runs: dict[str, Verified]
    ) -> Iterator[str]:
        folder = str(Path(path).parent)
        if folder == ".":
            return criteria.of_proof(summary, runs, self._lock)
        below = [run for one, run in runs.items() if str(Path(one).parent) == folder]
        if len(below) == 1:
            return criteria.of_run(summary, below[0])
        return iter(())

    # Logs and the like hold secrets as easily as evidence does.
    def _others(self, made: Made, runs: dict[str, Verified]) -> None:
        known = {self._name(one) for run in runs.values() for one in run.more}
        for path in sorted(made.lock.files.keys() - runs.keys() - known):
            if self._is_in_proof(path):
                continue
            findings = Findings(self._at(path))
            search(findings.path, findings)
            self._result.take(findings)

    def _anchors(self) -> None:
        anchors = self._wanted.anchors
        if anchors is None:
            return
        if self._data is not None:
            digest = f"blake3:{blake3(self._data).hexdigest()}"
            if (why := anchors.why_no_lock(digest)) is not None:
                self._result.found.append(Finding("anchor", self._own.path, why))
        for run in anchors.others():
            what = f"it anchors the run {run}, of which there is no evidence here"
            self._result.found.append(Finding("anchor", anchors.path, what))

    # What is signed is the lock, just as it was read above.
    def _signatures(self) -> None:
        signed, bundle = (self._own.path + ending for ending in SIGNATURES)
        allowed, identity = self._wanted.allowed_signers, self._wanted.identity
        if allowed is not None:
            self._signed(signed, partial(_signer, allowed))
        elif os.path.lexists(signed):
            self._unchecked(signed, "--allowed-signers")
        if identity is not None:
            self._signed(bundle, partial(_subject, identity))
        elif os.path.lexists(bundle):
            self._unchecked(bundle, "--sigstore-identity")

    def _unchecked(self, path: str, option: str) -> None:
        self._result.notes.append(f"{path} was not checked: {option} says by whom")

    def _signed(self, path: str, check: Callable[[bytes, bytes], str]) -> None:
        data = self._data
        signature = _content(path)
        if data is None or signature is None:
            self._own.add("signature", f"there is no {Path(path).name}, or no lock")
            return
        try:
            signer = check(data, signature)
        except BadSignatureError as error:
            self._own.add("signature", f"{Path(path).name}: {error}")
        except SignatureError as error:
            unreadable = UnreadableError(str(error), error.hint)
            self._result.unreadable.append(unreadable)
        else:
            self._result.notes.append(f"{path} is by {signer}")


def _first_path(files: Files) -> str:
    return files.paths[0]


def _signer(allowed: str, data: bytes, signature: bytes) -> str:
    return signer_of(data, signature, allowed)


def _subject(identity: Identity, data: bytes, bundle: bytes) -> str:
    check_bundle(data, bundle, identity)
    return identity.subject


def _content(path: str) -> bytes | None:
    try:
        with os.fdopen(open_itself(path), "rb") as file:
            return file.read(_MAX_SIGNATURE)
    except (OSError, ValueError):
        return None
