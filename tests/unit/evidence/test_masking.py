"""Tokens in names and paths are masked; different names stay different."""

from dataclasses import replace
from itertools import product

import pytest

from egressmon.evidence.masking import (
    could_be,
    is_masked,
    is_unclear,
    sanitise_record,
    shown,
)
from egressmon.evidence.records.actors import Actor, ProcessRecord
from egressmon.evidence.records.code import ChainStep, ModuleFile, ModuleRecord
from egressmon.evidence.records.running import LossRecord
from egressmon.evidence.records.traffic import (
    ConnectionRecord,
    DnsRecord,
    NameRecord,
    Peer,
)
from egressmon.policy.language.names import covers
from egressmon.sanitise import sanitise_place
from egressmon.sanitise.counting import masked_so_far

TOKEN = "glpat-" + "a1b2c3d4e5f6g7h8i9j0"
ACTOR = Actor(1, 1, 0, 0, "prog", "/bin/prog", ["prog"], [])
LOOKUP = DnsRecord(
    protocol="udp",
    resolver="192.0.2.53",
    name="api.example.test",
    asked=None,
    kind="A",
    status="NOERROR",
    answers=[],
    answer_count=0,
    unread_bytes=0,
    trusted=True,
    process=ACTOR,
    process_reason=None,
    verdict="violation",
    rule=None,
    reason="no allow entry covers api.example.test",
    module=None,
    module_reason=None,
    route="unknown",
    route_reason=None,
    bypass=None,
    code=None,
    code_reason=None,
)
CONNECTION = ConnectionRecord(
    op="connect",
    protocol="tcp",
    family="inet",
    socket="scope",
    dst=Peer("192.0.2.1", 443, [NameRecord("api.example.test", "dns")]),
    process=ACTOR,
    process_reason=None,
    verdict="violation",
    action="observed",
    rule=None,
    reason="no allow entry covers api.example.test:443/tcp",
    module=ModuleRecord(
        ModuleFile("/bin/prog", None, None), None, [ChainStep("prog", "cfi")], None
    ),
    module_reason=None,
    route="executable",
    route_reason=None,
    bypass=None,
    code=None,
    code_status="none",
    code_reason=None,
)


def test_a_record_without_a_secret_is_the_same_object() -> None:
    assert sanitise_record(LOOKUP) is LOOKUP
    assert sanitise_record(CONNECTION) is CONNECTION
    assert sanitise_record(CONNECTION) is CONNECTION


def test_a_token_in_a_looked_up_name_shows_nowhere_in_the_record() -> None:
    name = f"{TOKEN}.evil.example.test"
    record = replace(LOOKUP, name=name, reason=f"no entry covers {name}")

    masked = sanitise_record(record)

    assert TOKEN not in repr(masked)
    assert masked.name is not None
    assert masked.name.endswith(".evil.example.test")
    assert masked.name in masked.reason


def test_a_token_in_a_path_shows_nowhere_in_the_record() -> None:
    path = f"/srv/token={TOKEN}/bin/prog"
    actor = replace(ACTOR, exe=path)
    module = ModuleRecord(ModuleFile(path, None, None), None, [], None)
    record = replace(CONNECTION, process=actor, module=module)

    masked = sanitise_record(record)

    assert TOKEN not in repr(masked)
    assert masked.process is not None
    assert masked.module is not None
    assert masked.process.exe == masked.module.caller.path
    assert "/bin/prog" in (masked.process.exe or "")


def test_a_name_that_a_process_gave_itself_shows_no_secret() -> None:
    record = ProcessRecord(
        event="exec", pid=1, ppid=0, uid=0, comm="pw: hunter22z", exe=None, argv=None,
        argv_cut=False, started="",
    )  # fmt: skip

    assert "hunter22z" not in str(sanitise_record(record))


def test_a_record_of_any_other_kind_is_looked_through() -> None:
    record = LossRecord("ring", 1, f"egressmon failed: FileNotFoundError('/{TOKEN}')")

    assert TOKEN not in repr(sanitise_record(record))
    assert sanitise_record(record).count == 1


def test_two_names_that_are_masked_stay_two_and_one_stays_one() -> None:
    one, other = (f"{TOKEN}{end}.evil.example.test" for end in "xy")

    assert shown(one) == shown(one)
    assert shown(one) != shown(other)
    assert shown(f"/srv/token={one}") != shown(f"/srv/token={other}")


@pytest.mark.parametrize(
    "name",
    [
        "ghp-" + "c" * 28 + ".evil.example.test",
        "ghp_" + "c" * 28 + ".evil.example.test",
        "x.eyjhbgcioijiuzi1nij9.eyjzdwiioiixin0.example.test",
        "akiaiosfodnn7example.s3.example.test",
        "hvs.caesiabcdefghijklmnopqrst.example.test",
    ],
)
def test_tokens_are_known_in_names_which_have_no_case(name: str) -> None:
    assert "***" in shown(name)
    assert shown(name).endswith(".example.test")


@pytest.mark.parametrize(
    "name",
    [
        "api.example.org",
        "sk-learn-documentation-mirror.example.org",
        "npm-registry-mirror-europe-west.example.org",
        "ip-10-0-0-1.eu-central-1.compute.internal",
        "d111111abcdef8.cloudfront.net",
        "3b18e512dba79e4c8300dd08aeb37f8e728b8dad.cdn.example.org",
        "xn--bcher-kva.example",
        # Data that is carried out in a host name must stay visible in the evidence.
        "kr2xg5dpojqw4zdpnuqhg5djnztsa3lfonzwcz3f.t.evil.example.test",
        "_acme-challenge.example.org",
        "1.0.0.127.in-addr.arpa",
    ],
)
def test_a_name_is_evidence_and_stays(name: str) -> None:
    assert shown(name) == name


@pytest.mark.parametrize(
    "place",
    [
        "/usr/lib/python3.11/secrets.py",
        "/srv/project/tests/test_token.py",
        "/home/u/.cache/3b18e512dba79e4c8300dd08aeb37f8e728b8dad/x.so",
        "tests/test_auth.py::TestTokens::test_password[empty-None] (call)",
        "tests/test_x.py::test_url[https://example.org/a?page=2] (setup)",
        "<frozen importlib._bootstrap>",
    ],
)
def test_paths_and_test_ids_stay(place: str) -> None:
    assert sanitise_place(place) == place
    assert shown(place) == place


def test_a_test_id_is_masked_where_it_holds_a_secret() -> None:
    masked = sanitise_place(
        "tests/test_x.py::test_url[https://bob:hunter2@example.org/] (call)"
    )

    assert "hunter2" not in masked
    assert masked.startswith("tests/test_x.py::test_url[")
    assert masked.endswith("(call)")


# The second has its dots in the token, and the third is masked by another rule.
HIDDEN = [
    "akia" + "2" * 16,
    "hvs." + "a1" * 12,
    "eyjhbgci" + "a1" * 4 + ".longlabel",
    "sk_live_" + "a1b2c3d4" * 4,
]


def test_what_became_of_a_name_is_never_taken_for_another() -> None:
    words = ["a", "longlabel", "example"]
    labels = [*words, "*"]
    patterns = [
        ".".join([*front, *parts, "com"])
        for front in ([], ["**"])
        for count in (1, 2, 3)
        for parts in product(labels, repeat=count)
    ]
    for secret, *around in product(HIDDEN, ["", "a.", "longlabel."], words, words):
        first, second, third = around
        name = f"{first}{secret}.{second}.{third}.com"
        unclear = shown(name)
        assert is_unclear(unclear)
        assert is_masked(name)
        for pattern in patterns:
            if is_masked(pattern):
                continue
            assert could_be(unclear, pattern) in {None, covers(pattern, name)}


def test_a_cut_name_could_be_what_begins_like_it() -> None:
    assert could_be("api.exam…", "api.example.org") is None
    assert could_be("api.exam…", "*.example.org") is None
    assert could_be("api.exam…", "www.example.org") is False


def test_to_look_whether_a_name_is_masked_counts_nothing() -> None:
    before = masked_so_far()

    assert is_masked(f"{HIDDEN[0]}.example.com")
    assert masked_so_far() == before
