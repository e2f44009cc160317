"""The guard and `egressmon policy explain` say the same of the same destination."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from egressmon.cli.policy.explain import parse_destination
from egressmon.guard.attempts import Attempt
from egressmon.guard.destinations import HostPort
from egressmon.guard.judging import Rules, nearest, rules_of
from egressmon.guard.source import Source, read
from egressmon.naming.names import read_resolver, trusted_resolvers
from egressmon.policy.judging.judge import Judge
from egressmon.policy.reading.file import load_policy
from egressmon.policy.reading.place import PolicyFile

HOSTS = ["a.example", "b.a.example", "localhost", "c.example"]
PATTERNS = ["a.example", "*.a.example", "**.example.com", "localhost", "c.example"]
ADDRESSES = ["192.0.2.7", "127.0.0.1", "2001:db8::7", "::1", "198.51.100.1"]
RANGES = ["192.0.2.0/24", "127.0.0.0/8", "2001:db8::/32", "198.51.100.1"]
PORTS = [53, 443, 8080]


def entry(table: str, place: str, ports: list[int], protocol: str) -> str:
    return f"[[{table}]]\n{place}\nports = {ports}\nprotocol = {protocol!r}\n"


def policy(listeners: str, found: list[str]) -> str:
    return f'version = 1\nlocal.listeners = "{listeners}"\n' + "".join(found)


entries = some.builds(
    entry,
    some.sampled_from(["allow", "allow", "deny"]),
    some.one_of(
        some.sampled_from(PATTERNS).map('host = "{}"'.format),
        some.sampled_from(RANGES).map('cidr = "{}"'.format),
    ),
    some.lists(some.sampled_from(PORTS), min_size=1, unique=True),
    some.sampled_from(["tcp", "udp", "any"]),
)
policies = some.builds(
    policy, some.sampled_from(["scope", "any", "deny"]), some.lists(entries, max_size=4)
)


def source(text: str) -> Source:
    return Source("egress.toml", text.encode())


@given(
    policies,
    some.sampled_from(HOSTS + ADDRESSES),
    some.sampled_from(PORTS),
    some.sampled_from(["tcp", "udp"]),
)
def test_the_verdict_is_that_of_explain(
    text: str, host: str, port: int, protocol: str
) -> None:
    where = f"[{host}]" if ":" in host else host
    file = PolicyFile(Path("egress.toml"), text.encode())
    parsed = load_policy(file).policy
    resolver = read_resolver(Path("/etc/resolv.conf"))
    judge = Judge(parsed, trusted_resolvers(parsed, resolver), resolver.search)
    said = judge.connection(parse_destination(f"{where}:{port}/{protocol}"))

    rules = rules_of(source(text))
    found = rules.explain(HostPort.parse(f"{where}:{port}/{protocol}"), is_local=False)

    assert (found.word, found.rule) == (said.word, said.rule)


def judged(rules: Rules, names: tuple[str, ...], *, is_local: bool = False) -> str:
    address = ipaddress.ip_address("127.0.0.1" if is_local else "192.0.2.7")
    attempt = Attempt("connect", str(address), address, 443, "tcp")
    return rules.judge(attempt, names, is_local=is_local).word


def test_an_address_goes_by_the_names_that_led_to_it() -> None:
    rules = rules_of(source('version = 1\n[[allow]]\nhost = "a.example"\n'))

    assert judged(rules, ("a.example",)) == "allowed"
    assert judged(rules, ("b.example", "a.example")) == "allowed"
    assert judged(rules, ("b.example",)) == "violation"
    assert judged(rules, ()) == "violation"


def test_what_may_be_denied_by_one_of_the_names_is() -> None:
    rules = rules_of(
        source(
            'version = 1\n[[allow]]\nhost = "a.example"\n[[deny]]\nhost = "b.example"\n'
        )
    )

    assert judged(rules, ("b.example", "a.example")) == "violation"


def test_an_entry_for_code_of_a_package_is_not_for_python_sockets() -> None:
    text = 'version = 1\n[[allow]]\nhost = "a.example"\nby = { package = ["grpcio"] }\n'

    assert judged(rules_of(source(text)), ("a.example",)) == "violation"


def test_loopback_of_a_test_is_as_a_listener_inside_the_scope() -> None:
    plain = rules_of(source("version = 1\n"))
    strict = rules_of(source('version = 1\nlocal.listeners = "deny"\n'))

    assert judged(plain, (), is_local=True) == "local"
    assert judged(strict, (), is_local=True) == "violation"


def test_names_of_the_hosts_file_ask_nobody() -> None:
    rules = rules_of(source("version = 1\n"))

    for name, word in (("localhost", "allowed"), ("a.example", "violation")):
        attempt = Attempt("lookup", name, None, None, "dns")
        assert rules.judge(attempt, (), is_local=False).word == word


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_policy_that_everybody_can_write_is_not_used(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "egress.toml"
    path.write_text("version = 1\n")
    path.chmod(mode)

    assert read(str(path)).problem == "everybody can write it"


def test_what_is_no_file_is_not_used(tmp_path: Path) -> None:
    assert read(str(tmp_path)).problem == "not a regular file"
    assert read(str(tmp_path / "x")).problem == "No such file or directory"
    assert read("/dev/zero").problem == "not a regular file"
    big = tmp_path / "big"
    big.write_bytes(b"#" * ((1 << 20) + 1))
    assert read(str(big)).problem == "larger than 1 MiB"


def test_a_digest_must_be_that_of_the_file() -> None:
    rules = rules_of(
        Source("egress.toml", b"version = 1\n", digest="sha256:" + "0" * 64)
    )

    assert "its digest is" in rules.problem


def test_the_nearest_policy_is_that_of_watch(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep").mkdir()
    assert "no policy file" in (nearest(tmp_path / "deep").problem or "")
    (tmp_path / "egress.toml").write_text("version = 1\n")

    assert nearest(tmp_path / "deep").path == str(tmp_path / "egress.toml")
