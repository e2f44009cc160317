"""Run egressmon as a user does, and read what it left."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from blake3 import blake3

from egressmon.evidence.gate import MAX_RECORD
from egressmon.evidence.schema import evidence_schema
from egressmon.verifying.rejudging.policies import Policies
from egressmon.verifying.walking.evidence_file import EvidenceFile

Json = dict[str, Any]
_VALIDATED = 300  # of each kind; validating all of a burst takes minutes
EGRESSMON = (sys.executable, "-I", "-m", "egressmon")
# The engine that the kernel tests try: all of them must hold for each.
ENGINE = os.environ.get("EGRESSMON_TEST_ENGINE", "auto")
# An emulated machine, or a compiler in each run, takes its time.
LIMIT_S = float(os.environ.get("EGRESSMON_TEST_LIMIT_S", "120"))
# So does reading what a run left.
_IN_TIME = ("--catch-up", f"{LIMIT_S / 2:g}s")
WATCH = (*EGRESSMON, "watch", "--engine", ENGINE, *_IN_TIME)
# In a watched shell: the agent is the youngest child of egressmon's first process.
AGENT = "agent=$(tr ' ' '\\n' </proc/$PPID/task/$PPID/children | tail -n 1)"


@cache
def _validator(kind: str) -> Any:
    schema = evidence_schema()
    for definition in schema["$defs"].values():
        if definition["properties"].get("type", {}).get("const") == kind:
            # Only this kind: trying all of them on each line takes seconds.
            return jsonschema.Draft202012Validator({**schema, "oneOf": [definition]})
    raise AssertionError(f"no schema for records of type {kind!r}")


def frames_of(stack: Json) -> list[Json]:
    """Return the frames of a `stack` record, each with its names."""
    names = stack["names"]
    return [
        {
            "function": None if function is None else names[function],
            "file": None if file is None else names[file],
            "line": line,
        }
        for function, file, line in stack["frames"]
    ]


def check_digest(value: Json) -> None:
    """Assert that a value's digest is that of the fields behind it."""
    own = list(value)
    names = own[own.index("digest") + 1 :]
    content = {name: value[name] for name in names if name != "cut"}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    assert blake3(text.encode()).hexdigest(16) == value["digest"]


_ENVELOPE = {"schema", "type", "seq", "time", "run", "phase", "prev", "digest", "cut"}


# Each value is written before the first record that refers to it.
def _expand(record: Json, values: dict[str, Any]) -> None:
    if record["type"] in {"stack", "actor", "module"}:
        check_digest(record)
        fields = {name: record[name] for name in record if name not in _ENVELOPE}
        is_stack = record["type"] == "stack"
        values[record["digest"]] = frames_of(record) if is_stack else fields
    elif (process := record.get("process")) is not None:
        record["process"] = process | values[process["digest"]]
    if (module := record.get("module")) is not None:
        record["module"] = values[module["digest"]]
    code = record.get("code")
    if code is not None:
        for name in ("stack", "created_by", "started_by"):
            if code[name] is not None:
                code[name] = values[code[name]["digest"]]


def read_evidence(path: Path) -> list[Json]:
    """Return the records in path: valid, numbered without holes, the chain whole.

    What a reference stands for is in its place: of a stack, its frames.
    """
    return read_records(path.read_bytes())


def read_records(data: bytes) -> list[Json]:
    """Return the records in the lines of `data`, as `read_evidence` does."""
    records: list[Json] = []
    values: dict[str, Any] = {}
    prev: str | None = None
    seen: Counter[str] = Counter()
    for number, line in enumerate(data.splitlines()):
        record = json.loads(line)
        seen[record["type"]] += 1
        if seen[record["type"]] <= _VALIDATED:
            assert _validator(record["type"]).is_valid(record), record
        assert record["seq"] == number
        assert record["prev"] == prev
        assert len(line) <= MAX_RECORD
        prev = "blake3:" + blake3(line).hexdigest()
        _expand(record, values)
        records.append(record)
    # What was lost was counted before: `verify` knows by how much it may differ.
    is_ended = bool(records) and records[-1]["type"] == "run.end"
    if is_ended and "evidence" not in records[-1]["losses"]:
        check_counts(records)
    return records


def check_counts(records: Sequence[Json]) -> None:
    """Assert that `run.end` counts what is in the file."""
    end = records[-1]
    counted: dict[str, Counter[str]] = {"connection": Counter(), "dns": Counter()}
    for record in records:
        if record["type"] in counted and record.get("relayed") is None:
            # Equal look-ups may be one record.
            counted[record["type"]][record["verdict"]] += record.get("count", 1)
    assert end["connections"] == counted["connection"]
    assert end["queries"] == counted["dns"]
    made = [one for one in records if one["type"] == "connection"]
    assert end["unattributed_flows"] == sum(one["process"] is None for one in made)
    assert end["unknown_modules"] == sum(one["module"] is None for one in made)
    assert end["unknown_code"] == sum(one["code_status"] == "unknown" for one in made)
    assert end["bypasses"] == sum(one["bypass"] is True for one in made)


def check_verifies(evidence: Path, policy: Path) -> None:
    """Assert that `egressmon verify` finds nothing wrong with a run's evidence."""
    file = EvidenceFile(str(evidence), Policies([str(policy)]))
    file.verify()
    assert file.findings.found == [], file.findings.found


@dataclass(frozen=True)
class Watched:
    """One finished run."""

    status: int
    stdout: str
    stderr: str
    records: list[Json]

    def of(self, kind: str, /, **fields: object) -> list[Json]:
        """Return the records of kind whose fields have the values given."""
        return [
            record
            for record in self.records
            if record["type"] == kind
            and all(record[name] == value for name, value in fields.items())
        ]

    @property
    def end(self) -> Json:
        """The last record."""
        assert self.records[-1]["type"] == "run.end"
        return self.records[-1]

    @property
    def blind_spots(self) -> set[str]:
        """The names of what the run says it cannot see."""
        return {spot["name"] for spot in self.records[0]["blind_spots"]}

    def reached(self) -> set[tuple[str, str, int | None, str]]:
        """Return (op, ip, port, verdict) of each connection."""
        return {
            (one["op"], one["dst"]["ip"], one["dst"]["port"], one["verdict"])
            for one in self.of("connection")
        }


def until_begun(evidence: Path) -> list[Json]:
    """Return the first records of a run that goes on, once there are any."""
    until = time.monotonic() + LIMIT_S
    while not (records := read_evidence(evidence)):
        assert time.monotonic() < until, "the run has no records"
        time.sleep(0.01)
    return records


def until_recorded(folder: Path, connections: int) -> str:
    """Return Python lines that wait until that many connections are in the evidence.

    For a command that must be there when the agent looks at it. Its own limit ends the
    wait when they never come: the test then says what is missing.
    """
    evidence = str(folder / "evidence.jsonl")
    return (
        "import time\n"
        f"until = time.monotonic() + {LIMIT_S / 2}\n"
        "while time.monotonic() < until:\n"
        f"    with open({evidence!r}) as file: written = file.read()\n"
        f'    if written.count(\'"type":"connection"\') >= {connections}: break\n'
        "    time.sleep(0.01)\n"
    )


def watch(  # noqa: PLR0913 -- each one optional
    folder: Path,
    *command: str,
    policy: str | None = None,
    options: Sequence[str] = (),
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    verb: str = "watch",
) -> Watched:
    """Run `egressmon watch` on command, with its evidence in folder."""
    evidence = folder / "evidence.jsonl"
    words = [*prefix, *EGRESSMON, verb, "--evidence", str(evidence)]
    words += ["--engine", ENGINE, *_IN_TIME, *options]
    if policy is not None:
        (folder / "policy.toml").write_text(policy)
        words += ["--policy", str(folder / "policy.toml")]
    given = dict(environment if environment is not None else os.environ)
    given.pop("PYTEST_CURRENT_TEST", None)  # ours is not the command's
    done = subprocess.run(
        [*words, "--", *command],
        check=False,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=LIMIT_S,
        cwd=folder,
        env=given,
    )
    records = read_evidence(evidence) if evidence.exists() else []
    if records and records[-1]["type"] == "run.end":
        check_verifies(evidence, folder / "policy.toml")
    return Watched(done.returncode, done.stdout, done.stderr, records)
