"""An address keeps all its names while they hold, the most reliable first."""

import ipaddress
from pathlib import Path

from egressmon.naming.asked import Asker
from egressmon.naming.names import (
    GRACE_NS,
    Names,
    names_for_verdict,
    read_hosts_file,
    read_resolver,
)
from egressmon.policy.language.search import SearchList

A = ipaddress.ip_address("203.0.113.1")
SECOND = 1_000_000_000


def test_all_names_of_an_address_are_kept() -> None:
    names = Names()
    names.learn(A, "a.test", "dns", 10 * SECOND)
    names.learn(A, "B.test.", "dns", 10 * SECOND)

    assert [one.name for one in names.of(A, 0)] == ["b.test", "a.test"]


PARENT, CHILD, OTHER = (1, 10), (2, 20), (3, 30)


def ask(names: Names, name: str, process: tuple[int, int], thread: int) -> None:
    names.learn(A, name, "dns", SECOND, Asker(process, thread))


def seen(names: Names, asker: Asker | None) -> list[tuple[str, str | None]]:
    return [(one.name, one.asked_by) for one in names.of(A, 0, asker)]


def test_a_connection_goes_by_the_name_that_its_own_process_asked_for_last() -> None:
    names = Names()
    ask(names, "parent.test", PARENT, 1)
    ask(names, "first.test", CHILD, 2)
    ask(names, "mine.test", CHILD, 2)
    ask(names, "beside.test", CHILD, 3)
    ask(names, "stranger.test", OTHER, 4)

    assert seen(names, Asker(CHILD, 2, (PARENT,))) == [
        ("mine.test", "thread"),
        ("first.test", "thread"),
        ("beside.test", "process"),
        ("stranger.test", "other"),
        ("parent.test", "other"),
    ]
    assert seen(names, Asker((9, 9), 9, (CHILD, PARENT)))[0] == (
        "beside.test",
        "ancestor",
    )
    assert seen(names, None)[0] == ("stranger.test", "other")


def test_what_is_asked_for_again_is_what_was_asked_for_last() -> None:
    names = Names()
    for name in ("a.test", "b.test", "a.test"):
        ask(names, name, CHILD, 2)

    assert seen(names, Asker(CHILD, 2))[0] == ("a.test", "thread")


def test_a_pid_that_is_used_again_asked_for_nothing() -> None:
    names = Names()
    ask(names, "old.test", CHILD, 2)

    assert seen(names, Asker((CHILD[0], 99), 2)) == [("old.test", "other")]


# What others asked for could lend an allowed name to whoever asked for another.
def test_the_verdict_is_on_what_the_process_itself_asked_for() -> None:
    names = Names()
    names.learn(A, "hosts.test", "hosts-file")
    names.learn(A, "guess.test", "policy-resolution")
    ask(names, "allowed.test", OTHER, 4)
    ask(names, "mine.test", CHILD, 2)
    ask(names, "beside.test", CHILD, 3)

    mine = names.of(A, 0, Asker(CHILD, 2))
    nobodys = names.of(A, 0, Asker((9, 9), 9))

    assert names_for_verdict(mine) == ("mine.test", "beside.test", "hosts.test")
    assert set(names_for_verdict(nobodys)) == {
        "allowed.test", "mine.test", "beside.test", "hosts.test"
    }  # fmt: skip


def test_who_asked_is_bounded() -> None:
    names = Names()
    for number in range(70_000):
        ask(names, f"{number % 300}.test", (number, 1), number)

    assert len(names.of(A, 0, Asker((69_999, 1), 69_999))) == 256


def test_aliases_lead_both_ways_and_by_several_answers() -> None:
    aliases = Names().aliases
    aliases.learn("www.test", ["cdn.test", "edge.test"])
    aliases.learn("edge.test", ["pop.test", "www.test"])

    assert set(aliases.origins(["pop.test"])) == {"edge.test", "www.test"}
    assert "pop.test" in aliases.targets(["www.test"])
    assert aliases.origins(["www.test"]) == ("edge.test",)


def test_a_name_ends_after_its_time_and_grace() -> None:
    names = Names()
    names.learn(A, "a.test", "dns", 10 * SECOND)

    assert names.of(A, 10 * SECOND + GRACE_NS)
    assert not names.of(A, 10 * SECOND + GRACE_NS + 1)


def test_a_later_answer_prolongs_and_never_shortens() -> None:
    names = Names()
    names.learn(A, "a.test", "dns", 100 * SECOND)
    names.learn(A, "a.test", "dns", 10 * SECOND)

    assert names.of(A, 100 * SECOND + GRACE_NS)


def test_a_learned_name_outranks_the_policys_own_resolution() -> None:
    names = Names()
    names.learn(A, "allowed.test", "policy-resolution")
    assert names_for_verdict(names.of(A, 0)) == ("allowed.test",)

    names.learn(A, "asked.test", "dns", SECOND)

    assert names_for_verdict(names.of(A, 0)) == ("asked.test",)
    assert [one.source for one in names.of(A, 0)] == ["dns", "policy-resolution"]


def test_names_are_bounded_and_what_is_dropped_is_counted() -> None:
    names = Names()
    for number in range(300):
        names.learn(A, f"{number}.test", "dns", SECOND)
    for number in range(65600):
        names.learn(ipaddress.ip_address(number), "x.test", "dns", SECOND)

    assert names.dropped >= 300 - 256 + 64


def test_hosts_files(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(
        b"127.0.0.1 localhost # loop\n# comment\n203.0.113.1\ta.test b.test\n"
        b"not-an-address x\n\n::1%lo six\nfe80::1\n\xff\xff bad\n"
    )

    pairs = [(str(address), name) for address, name in read_hosts_file(path)]

    assert pairs == [
        ("127.0.0.1", "localhost"),
        ("203.0.113.1", "a.test"),
        ("203.0.113.1", "b.test"),
        ("::1", "six"),
    ]
    assert read_hosts_file(tmp_path / "missing") == []


def test_resolver_files(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# by hand\nsearch Corp.Example. b.test\nnameserver 192.0.2.53\n"
        "nameserver fe80::1%eth0\nnameserver nonsense\noptions edns0 ndots:5\n"
    )

    found = read_resolver(path)

    assert list(map(str, found.servers)) == ["192.0.2.53", "fe80::1"]
    assert found.search == SearchList(("corp.example", "b.test"), 5)
    assert list(map(str, read_resolver(tmp_path / "missing").servers)) == ["127.0.0.1"]


# A name that does not exist lets the search list complete it: verdicts rest on it.
def test_what_names_rest_on_changes_with_those_that_do_not_exist() -> None:
    names = Names()
    names.learn(A, "api.example.org", "dns")
    bases = [names.basis(A)]
    for is_there in (False, False, True, True):
        names.absent.note("api.example.org", is_there=is_there)
        bases.append(names.basis(A))

    assert bases[0] != bases[1] == bases[2] != bases[3] == bases[4]


def test_without_names_nothing_rests_on_what_is_said_of_names() -> None:
    names = Names()
    before = names.basis(A)
    names.absent.note("api.example.org", is_there=False)
    names.aliases.learn("api.example.org", ("cdn.example.net",))

    assert names.basis(A) == before
    names.learn(A, "api.example.org", "dns")
    assert names.basis(A) != before
