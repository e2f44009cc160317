"""How runs differ from a baseline, and how much it counts."""

from pathlib import Path
from typing import Any

import pytest

from egressmon.drift.comparing import compare
from egressmon.drift.findings import Change, Comparison
from egressmon.drift.model import Baseline, Content, Review
from egressmon.drift.toml_form import digest_of
from egressmon.policy.language.default import DEFAULT
from egressmon.policy.language.drift import Drift
from support.reached import (
    OTHER_POLICY,
    Json,
    actor,
    connection,
    look_up,
    module,
    package,
    run_of,
    surface,
)

OLD, NEW = package("requests", "2.31.0"), package("requests", "2.32.0")
SPY = package("spy", "0.1")


def reviewed(content: Content) -> Baseline:
    digest = digest_of(content)
    review = Review("Ada", "as it should be", "2026-11-28", digest)
    return Baseline(content, digest, (review,))


def compared(
    folder: Path,
    before: list[list[Json]],
    *after: list[Json],
    policy: str | None = None,
    **settings: Any,
) -> Comparison:
    baseline = reviewed(surface(folder / "before", run_of(*before)).plain())
    runs = [one if one[0]["type"] == "run.start" else run_of(one) for one in after]
    return compare(baseline, surface(folder, *runs), Drift(**settings), policy)


def told(found: Comparison) -> list[tuple[str, str, str]]:
    return [(one.word, one.kind, one.what) for one in found.changes]


def only(found: Comparison) -> Change:
    (one,) = found.changes
    return one


def test_equal_runs_do_not_drift(tmp_path: Path) -> None:
    records = [*connection(by=OLD), *look_up("api.example.org")]

    found = compared(tmp_path, [records], records)

    assert found == Comparison(runs=found.runs)
    assert found.status == 0


def test_a_new_destination_says_who_did_it(tmp_path: Path) -> None:
    later = connection("spy.example", by=OLD, test="t.py::a (call)")

    one = only(found := compared(tmp_path, [connection(by=OLD)], [
        *connection(by=OLD), *later
    ]))  # fmt: skip

    assert (one.word, one.kind, one.what) == (
        "new", "destination", "spy.example:443/tcp"
    )  # fmt: skip
    assert one.who[0].package == "python:requests 2.31.0"
    assert one.who[0].test == "t.py::a (call)"
    assert one.since is None
    assert found.status == 1


def test_a_new_address_is_told_beside_its_network(tmp_path: Path) -> None:
    later = [*connection(), *connection(None, "203.0.113.77")]

    one = only(compared(tmp_path, [connection()], later))

    assert one.what == "203.0.113.0/24:443/tcp"
    assert one.remark == "203.0.113.77"


def test_another_address_of_a_network_is_none(tmp_path: Path) -> None:
    found = compared(
        tmp_path, [connection(None, "203.0.113.7")], connection(None, "203.0.113.8")
    )

    assert found.changes == ()


def test_another_port_says_that_the_name_is_known(tmp_path: Path) -> None:
    later = [*connection(), *connection(port=8443)]

    assert only(compared(tmp_path, [connection()], later)).remark == (
        "the name is known at 443/tcp"
    )


def test_what_is_gone_is_told(tmp_path: Path) -> None:
    before = [connection(), connection("b.example"), look_up("b.example")]

    found = compared(tmp_path, before, connection())

    assert told(found) == [
        ("gone", "destination", "b.example:443/tcp"),
        ("gone", "lookup", "look-up of b.example"),
        ("gone", "resolver", "192.0.2.53/udp"),
    ]
    assert found.status == 1
    assert compared(tmp_path, before, connection(), gone="note").status == 0
    ignoring = compared(tmp_path, before, connection(), gone="ignore")
    assert (ignoring.changes, ignoring.ignored) == ((), 3)


def test_another_version_is_told_once(tmp_path: Path) -> None:
    names = [f"{number}.example" for number in range(5)]
    before = [connection(name, by=OLD) for name in names]
    after = [one for name in names for one in connection(name, by=NEW)]

    one = only(compared(tmp_path, before, after))

    assert one == Change(
        "changed", "version", "python:requests", ("2.31.0",), ("2.32.0",), one.who
    )
    assert one.who[0].package == "python:requests 2.32.0"


def test_a_new_package_is_told_once_with_where_it_connects(tmp_path: Path) -> None:
    after = [*connection(by=OLD), *connection(by=SPY)]

    one = only(compared(tmp_path, [connection(by=OLD)], after))

    assert (one.word, one.kind, one.what, one.new) == (
        "new", "package", "python:spy", ("0.1",)
    )  # fmt: skip
    assert one.remark == "to api.example.org:443/tcp"


def test_a_known_package_at_another_destination_is_a_change(tmp_path: Path) -> None:
    before = [connection(by=OLD), connection("b.example", by=SPY)]
    after = [*before[0], *before[1], *connection(by=SPY)]

    one = only(compared(tmp_path, before, after))

    assert (one.word, one.kind, one.what) == (
        "changed", "package", "api.example.org:443/tcp"
    )  # fmt: skip
    assert (one.old, one.new) == ((), ("python:spy",))
    assert one.who[0].package == "python:spy 0.1"


@pytest.mark.parametrize(
    ("kind", "fields", "old", "new"),
    [
        ("module", {"module": module("/x/evil.so")}, "_socket.so", "evil.so"),
        ("route", {"route": "native"}, "python-socket", "native"),
        ("bypass", {"bypass": True}, "no", "yes"),
        ("guard", {"guard": "bypassed"}, "absent", "bypassed"),
    ],
)
def test_what_changes_at_a_destination_is_told(
    tmp_path: Path, kind: str, fields: dict[str, Any], old: str, new: str
) -> None:
    one = only(found := compared(tmp_path, [connection()], connection(**fields)))

    assert (one.word, one.kind, one.old, one.new) == ("changed", kind, (old,), (new,))
    assert found.status == 1
    ignoring = compared(
        tmp_path, [connection()], connection(**fields), **{kind: "note"}
    )
    assert ignoring.status == 0


def test_what_is_not_known_is_no_more_than_a_note(tmp_path: Path) -> None:
    later = [*connection(), *connection(bypass=None)]

    one = only(found := compared(tmp_path, [connection()], later))

    assert (one.kind, one.new, one.counts) == ("bypass", ("unknown",), "note")
    assert found.status == 0


def test_a_violation_is_told_as_one_and_not_as_new(tmp_path: Path) -> None:
    later = [*connection(), *connection("spy.example", verdict="violation")]

    one = only(found := compared(tmp_path, [connection()], later))

    assert (one.word, one.what) == ("violation", "spy.example:443/tcp")
    assert one.remark == "not in the baseline"
    assert found.status == 1
    quiet = compared(tmp_path, [connection()], later, violation="ignore")
    assert told(quiet) == [("new", "destination", "spy.example:443/tcp")]


def test_a_violation_that_the_baseline_has_is_one(tmp_path: Path) -> None:
    records = connection(verdict="violation")

    assert only(compared(tmp_path, [records], records)).remark == "also in the baseline"


def test_a_new_destination_in_violation_counts_as_what_counts_more(
    tmp_path: Path,
) -> None:
    before, new = connection(), connection("evil.example", verdict="violation")

    found = compared(tmp_path, [before], [*before, *new], violation="note")

    assert [(one.word, one.counts) for one in found.changes] == [
        ("violation", "note"),
        ("new", "drift"),
    ]


def test_a_peer_that_may_not_connect_to_a_known_listener_is_a_violation(
    tmp_path: Path,
) -> None:
    peer: Json = {"op": "accept", "local_port": 8080}
    before = connection(None, extra=peer)
    after = connection(None, verdict="violation", extra=peer)

    change = only(compared(tmp_path, [before], after))

    assert (change.word, change.what) == ("violation", "8080/tcp")
    assert change.who[0].program == "python3"


@pytest.mark.parametrize("path", ["/opt/unknown", "/opt/code in no file"])
def test_no_file_is_taken_for_one_that_is_not_known(tmp_path: Path, path: str) -> None:
    nameless = connection(module=module(), process=actor("/opt/tool"))
    hidden = connection(module=module(path), process=actor(path))
    unwritten = connection(module=module(""), process=actor("/opt/tool"))

    found = compared(tmp_path, [nameless, unwritten], [*nameless, *unwritten, *hidden])

    assert {one.kind: one.counts for one in found.changes} == {
        "module": "drift",
        "program": "drift",
    }


def test_several_runs_say_since_when(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        [connection()],
        run_of(connection(), run="a", day=1),
        run_of(connection(), connection("b.example"), run="b", day=2),
        run_of(connection(), connection("b.example"), run="c", day=3),
    )

    since = only(found).since
    assert since is not None
    assert since.name == "b"
    assert since.began.startswith("2026-11-02T")


def test_what_is_not_in_the_last_runs_is_a_note(tmp_path: Path) -> None:
    before = [connection(), connection("b.example")]

    found = compared(
        tmp_path,
        before,
        run_of(*before, run="a", day=1),
        run_of(connection(), run="b", day=2),
    )

    one = only(found)
    assert (one.word, one.what, one.counts) == ("gone", "b.example:443/tcp", "note")
    assert one.since is not None
    assert one.since.name == "b"


@pytest.mark.parametrize(
    ("sent", "orders", "changes"),
    [(9_999, 1, 0), (10_000, 1, 1), (99_999, 2, 0), (100_000, 2, 1), (9, 2, 1)],
)
def test_bytes_count_by_orders_of_magnitude(
    tmp_path: Path, sent: int, orders: int, changes: int
) -> None:
    later = run_of(connection(), end={"sent_bytes": sent})

    found = compared(tmp_path, [connection()], later, bytes_orders=orders)

    assert len(found.changes) == changes
    assert found.status == 0


def test_new_facts_of_a_run_are_told(tmp_path: Path) -> None:
    escape = {"type": "escape", "what": "unix-socket", "path": "/run/docker.sock"}
    listened = connection(None, extra={"op": "accept", "local_port": 80})
    later = run_of(connection(), [escape], listened, start={"blind_spots": []})

    found = compared(tmp_path, [connection()], later)

    assert [(*one[:3], one.counts) for one in found.changes] == [
        ("new", "escape", "unix-socket /run/docker.sock", "drift"),
        ("new", "listener", "80/tcp", "drift"),
        ("gone", "blind_spot", "packet-sockets", "note"),
    ]


def test_a_baseline_that_was_edited_is_told(tmp_path: Path) -> None:
    content = surface(tmp_path, run_of(connection())).plain()
    other = surface(tmp_path, run_of(connection("b.example"))).plain()
    now = surface(tmp_path, run_of(connection("b.example")))

    for edited in (
        Baseline(other, digest_of(content)),
        Baseline(other, digest_of(other), reviewed(content).reviews),
        Baseline(other, digest_of(content), reviewed(content).reviews),
    ):
        found = compare(edited, now, Drift(), None)
        assert found.changes[0].kind == "edited", edited
        assert found.status == 1
        assert compare(edited, now, Drift(edited="note"), None).status == 0


def test_a_baseline_that_nobody_reviewed_is_a_note(tmp_path: Path) -> None:
    now = surface(tmp_path, run_of(connection()))
    content = now.plain()

    found = compare(Baseline(content, digest_of(content)), now, DEFAULT.drift, None)

    assert told(found) == [
        ("changed", "unreviewed", "nobody has reviewed the baseline")
    ]
    assert found.status == 0


NOT_COMPARABLE: dict[str, tuple[list[Json], str]] = {
    "incomplete": (
        run_of(connection(), end={"complete": False, "incomplete_reasons": ["x"]}),
        "incomplete: x",
    ),
    "no end": (run_of(connection(), has_end=False), "it has no end"),
    "empty": (run_of(), "an empty run"),
    "another policy": (
        run_of(connection(), start={"policy_digest": OTHER_POLICY}),
        "judged by another policy: sha256:bbb",
    ),
    "no policy": (
        run_of(connection(), start={"policy_digest": None, "policy_kind": "default"}),
        "judged by another policy: default",
    ),
    "two policies": (
        run_of(
            connection(), [{"type": "policy", "policy_digest": OTHER_POLICY}]
        ),
        "two policies: ",
    ),
    "less attribution": (
        run_of(connection(), start={"attribution": "process"}),
        "what is known of callers differs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_COMPARABLE)
def test_what_is_not_comparable_says_so(tmp_path: Path, name: str) -> None:
    run, why = NOT_COMPARABLE[name]

    found = compared(tmp_path, [connection(), connection("gone.example")], run)

    assert any(why in one for one in found.problems)
    assert found.status == 2
    assert all(one.word != "gone" for one in found.changes)


def test_what_is_not_comparable_tells_what_is_new_all_the_same(tmp_path: Path) -> None:
    run = run_of(connection("b.example", verdict="violation"), has_end=False)

    found = compared(tmp_path, [connection()], run)

    assert told(found) == [("violation", "violation", "b.example:443/tcp")]


def test_the_policy_that_holds_now_explains_another_one(tmp_path: Path) -> None:
    later = run_of(connection(), start={"policy_digest": OTHER_POLICY})

    found = compared(tmp_path, [connection()], later, policy=OTHER_POLICY)

    assert found.problems == ()
    assert (only(found).kind, found.status) == ("policy", 0)


def test_an_empty_baseline_and_an_empty_run_are_equal(tmp_path: Path) -> None:
    assert compared(tmp_path, [[]], run_of()) == Comparison(
        runs=compared(tmp_path, [[]], run_of()).runs
    )


def test_ten_thousand_destinations(tmp_path: Path) -> None:
    before, after = connection(by=OLD), connection(by=NEW)
    for number in range(10_000):
        before.append(connection(f"{number}.example.org", by=OLD)[-1])
        after.append(connection(f"{number}.example.net", by=NEW)[-1])

    found = compared(tmp_path, [before], after)

    assert len(found.changes) == 20_001
    assert found.changes[0].word == "new"
