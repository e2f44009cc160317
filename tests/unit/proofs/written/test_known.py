"""The secrets of headers: sent, and nowhere else."""

import base64
import html
import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from egressmon.errors import UsageError
from egressmon.proofs.plans.plan import Plan
from egressmon.proofs.playing.surroundings import (
    headers_of,
    known_secrets,
    require_sendable,
)
from egressmon.proofs.written.folder import Folder
from egressmon.proofs.written.known import KnownSecrets
from egressmon.proofs.written.leaks import search
from egressmon.proofs.written.logs import Log
from egressmon.sanitise.counting import MASK
from egressmon.text import escape

VALUE = 'tr0ub4dor "and" thr\xe9e'
KNOWN = KnownSecrets([VALUE])


def plan(header: object = None) -> Plan:
    table = {"X-Api": header or {"env": "API"}}
    request = {"url": "http://127.0.0.1:1/", "headers": table}
    phase = {"name": "a", "request": request}
    return Plan.model_validate({"version": 1, "phase": [phase]})


@pytest.mark.parametrize(
    "written",
    [
        VALUE.encode(),
        VALUE.encode("latin-1"),
        json.dumps(VALUE).encode(),
        repr(VALUE).encode(),
        quote(VALUE).encode(),
        base64.b64encode(VALUE.encode()),
    ],
)
def test_a_known_secret_is_masked_however_it_is_written(written: bytes) -> None:
    masked = KNOWN.masked(b"before " + written + b" after")

    assert b"tr0ub4dor" not in masked
    assert MASK.encode() in masked
    assert masked.startswith(b"before ")


ODD = "zqx/w\\v+kk==<\xe9>'\t"


@pytest.mark.parametrize(
    "written",
    [
        escape(ODD),
        json.dumps(escape(ODD)),
        json.dumps(ODD).replace("/", "\\/"),
        json.dumps(json.dumps(ODD)),
        json.dumps(ODD).replace("<", "\\u003c").replace(">", "\\u003e"),
        html.escape(ODD),
        repr(ODD.encode()),
        quote(ODD, "").lower(),
        base64.b64encode(f"user:{ODD}".encode()).decode(),
        base64.urlsafe_b64encode(f"u:{ODD}!".encode()).decode(),
    ],
)
def test_so_is_one_with_letters_that_each_writes_in_its_own_way(written: str) -> None:
    masked = KnownSecrets([ODD]).masked(f"before {written} after")

    assert masked.startswith("before ")
    assert MASK in masked
    assert "zqx" not in masked
    assert "enF4L3dcd" not in masked  # the secret's own, as base64 has it


def test_what_is_behind_the_scheme_is_a_secret_by_itself() -> None:
    known = KnownSecrets(["Bearer correct-horse"])

    assert known.masked("got correct-horse") == f"got {MASK}"
    assert known.masked("Bearer of news") == "Bearer of news"


def test_a_short_value_is_not_searched_for() -> None:
    assert KnownSecrets(["1"]).masked("1 of 1") == "1 of 1"
    assert list(KnownSecrets(["", "1"]).lines_of(b"1")) == []


def test_a_log_that_is_cut_within_a_secret_has_no_part_of_it() -> None:
    log = Log()
    log.add(b"x" * ((4 << 20) - 5) + b" " + VALUE.encode())

    assert b"tr0u" not in log.sanitised(KNOWN)


def test_a_log_has_no_known_secret() -> None:
    log = Log()
    log.add(b"X-Api: " + VALUE.encode() + b"\n")

    assert log.sanitised(KNOWN) == f"X-Api: {MASK}\n".encode()


def test_a_proof_with_a_known_secret_says_so(tmp_path: Path) -> None:
    folder = Folder.make(str(tmp_path / "proof"))
    folder.write("a.log", b"one\ntwo " + VALUE.encode())

    assert search(folder, KNOWN).found == ["proof/a.log:2: a header's value"]
    assert search(folder).found == []


def test_what_is_around_a_value_is_no_part_of_it() -> None:
    (phase,) = plan().phase

    assert headers_of(phase, {"API": " one two\n"}) == {"X-Api": "one two"}
    known = known_secrets(plan(), {"API": " one two\n"})
    assert known.masked("one two") == MASK


@pytest.mark.parametrize(
    "value", ["ab\ncd", "ab\rcd", "ab\0cd", "\u20acabc", "\udcffa"]
)
def test_what_cannot_be_sent_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(UsageError) as raised:
        known_secrets(plan(), {"API": value})
    assert "cannot be sent" in str(raised.value)
    assert "ab" not in str(raised.value).replace("variable", "")
    with pytest.raises(UsageError):
        require_sendable(plan(), {"API": value})


def test_check_wants_no_secret() -> None:
    require_sendable(plan(), {})


def test_masking_takes_no_long_time() -> None:
    known = KnownSecrets(["a" * 200 + "b"])
    data = b"a" * (1 << 18)

    began = time.process_time()
    known.masked(data)
    assert time.process_time() - began < 5
