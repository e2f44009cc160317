"""Bursts, lies and broken disks: recorded safely, and nothing lost without a count."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.lab import OTHER4, SERVER4
from support.watching import AGENT, EGRESSMON, LIMIT_S, WATCH, Watched, read_evidence

Watch = Callable[..., Watched]
PYTHON = sys.executable


@pytest.mark.alone
@pytest.mark.smoke
def test_a_burst_of_10_000_forks_is_whole(
    watched: Watch, build: Callable[[str], str]
) -> None:
    run = watched(build("forks"), "10000")

    assert len(run.of("process", event="fork")) == 10_000
    assert len(run.of("process", event="exit")) == 10_001
    assert run.end["verdict"] == "clean"


@pytest.mark.alone
def test_a_burst_of_10_000_connects_is_whole(
    watched: Watch, build: Callable[[str], str]
) -> None:
    run = watched(build("connect"), OTHER4, "9", "burst", "10000")

    assert run.end["connections"] == {"violation": 10_000}
    assert run.end["complete"] is True
    assert len(run.of("connection")) == 10_000


# The ring is full when nobody reads it: the agent is stopped while the command
# makes more events than fit. What is lost is counted, and the run is incomplete.
def test_what_does_not_fit_the_ring_is_counted(
    network: object, build: Callable[[str], str], tmp_path: Path
) -> None:
    assert network is not None
    evidence = tmp_path / "e.jsonl"
    burst = f"{build('connect')} 127.0.0.1 9 burst 60000"
    script = f"{AGENT}; kill -STOP $agent; {burst}; kill -CONT $agent"

    done = subprocess.run(
        [*WATCH, "--evidence", str(evidence), "--", "sh", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd=tmp_path,
    )

    end = read_evidence(evidence)[-1]
    lost = end["losses"]["lost_flow"]
    assert lost > 0
    assert end["connections"]["local"] + lost == 60_000
    assert end["verdict"] == "incomplete"
    assert done.returncode == 121
    assert "lost_flow" in done.stderr
    losses = [one for one in read_evidence(evidence) if one["type"] == "loss"]
    assert sum(one["count"] for one in losses if one["where"] == "lost_flow") == lost


# Each changes what is remembered of the socket as the other's packet leaves.
RACE = """
import socket, threading
PEERS = 3000
shared = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
start = threading.Barrier(2)
def until_sent(send):
    while True:
        try:
            return send()
        except ConnectionRefusedError:  # of an earlier datagram
            pass
def connect():
    start.wait()
    for n in range(PEERS):
        shared.connect((f"127.1.{n // 250}.{n % 250 + 1}", 9))
        until_sent(lambda: shared.send(b"x"))
def name():
    start.wait()
    for n in range(PEERS):
        until_sent(lambda: shared.sendto(b"x", (f"127.2.{n // 250}.{n % 250 + 1}", 9)))
threads = [threading.Thread(target=one) for one in (connect, name)]
for one in threads: one.start()
for one in threads: one.join()
"""


def test_threads_that_share_a_socket_hide_no_peer(watched: Watch) -> None:
    run = watched(PYTHON, "-c", RACE)

    reached = {one["dst"]["ip"] for one in run.of("connection")}
    wanted = {
        f"127.{way}.{n // 250}.{n % 250 + 1}" for way in (1, 2) for n in range(3000)
    }
    assert wanted <= reached
    assert run.end["complete"] is True


def test_names_with_newlines_and_escapes_break_neither_record_nor_terminal(
    watched: Watch, tmp_path: Path
) -> None:
    evil = tmp_path / "evil\n\x1b[31m\x1b]0;owned\x07"
    evil.write_bytes(Path("/usr/bin/curl").read_bytes())
    evil.chmod(0o755)

    run = watched(str(evil), "-sS", f"http://{OTHER4}/", "-A", "\x1b[2Jx\ny")

    (connection,) = run.of("connection")
    assert connection["process"]["exe"] == (
        f"{tmp_path}/evil" r"\n\x1b[31m\x1b]0;owned\x07"
    )
    assert connection["process"]["argv"][-1] == r"\x1b[2Jx\ny"
    assert "\x1b" not in run.stderr
    assert "\x07" not in run.stderr


def test_bytes_that_are_no_utf_8_are_escaped(watched: Watch) -> None:
    code = "import os; os.execv('/bin/true', [b'true', b'\\xff\\xfe'])"

    run = watched(PYTHON, "-c", code)

    (record,) = [
        one for one in run.of("process", event="exec") if one["comm"] == "true"
    ]
    assert record["argv"] == ["true", "\\xff\\xfe"]


def test_an_argument_list_of_2_mb_is_cut_and_says_so(watched: Watch) -> None:
    code = "import os; os.execv('/bin/true', ['true'] + ['x' * 100_000] * 20)"

    run = watched(PYTHON, "-c", code)

    (record,) = [
        one for one in run.of("process", event="exec") if one["comm"] == "true"
    ]
    assert record["argv_cut"] is True
    assert record["argv"][0] == "true"
    assert run.end["verdict"] == "clean"


def test_secrets_of_a_command_line_are_not_recorded(
    watched: Watch, tmp_path: Path
) -> None:
    run = watched(
        *("sh", "-c", "true", "--token", "hunter2hunter2", "PASSWORD=correcthorse"),
        *("https://user:sesame@example.test/", "ghp_" + "a" * 36),
    )

    text = (tmp_path / "evidence.jsonl").read_text()
    assert run.of("process", event="exec")
    for secret in ("hunter2", "correcthorse", "sesame", "ghp_a"):
        assert secret not in text
        assert secret not in run.stderr


# dig writes a name of the greatest length (255 bytes on the wire) with odd bytes.
def test_the_longest_and_oddest_host_names_are_recorded(watched: Watch) -> None:
    longest = ".".join(["a" * 63] * 3 + ["b" * 56, "test"])
    odd = r"\255\010\027[31m.test"

    run = watched("dig", "+tries=1", "+short", longest, "A", odd, "A")

    names = [one["name"] for one in run.of("dns")]
    assert longest in names
    assert any(r"\\255\\010\\027[31m" in name for name in names)


GARBAGE = """
import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for size in (0, 1, 2, 11, 12, 13, 100, 511, 512, 513, 1400):
    s.sendto(os.urandom(size), ("{server}", 53))
t = socket.create_connection(("{server}", 53))
for part in (b"\\0", b"\\xff" * 20, b"\\0\\5hello", os.urandom(3000)):
    t.send(part)
"""


def test_garbage_on_the_dns_port_is_counted_and_harmless(watched: Watch) -> None:
    run = watched(PYTHON, "-c", GARBAGE.format(server=SERVER4))

    assert run.end["losses"]["dns_malformed"] > 0
    assert run.end["complete"] is True
    assert all(one["name"] is None or one["reason"] for one in run.of("dns"))


def test_a_full_disk_does_not_stop_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [*WATCH, "--evidence", "/dev/full", "--", "sh", "-c", "echo ran"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.stdout == "ran\n"
    assert done.returncode == 121
    assert "No space left on device" in done.stderr


# A disk that fills in mid-run: what is written before stays whole.
def test_a_disk_that_fills_in_mid_run_ends_121(tmp_path: Path) -> None:
    script = (
        f"mount -t tmpfs -o size=64k tmpfs {tmp_path} && "
        f'"$@" watch --evidence {tmp_path}/e.jsonl -- '
        "sh -c 'for i in $(seq 200); do /bin/true; done; echo ran'; echo $? >&2; "
        f"tail -c 1 {tmp_path}/e.jsonl | od -c | head -1; wc -l <{tmp_path}/e.jsonl"
    )

    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
            *EGRESSMON,
        ],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.stdout.startswith("ran\n")
    assert done.stderr.endswith("121\n")
    assert "No space left" in done.stderr


@pytest.mark.parametrize("path", ["/proc/nowhere/e.jsonl", "/"])
def test_an_unwritable_evidence_path_does_not_stop_the_command(
    tmp_path: Path, path: str
) -> None:
    done = subprocess.run(
        [*WATCH, "--evidence", path, "--", "sh", "-c", "echo ran"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.stdout == "ran\n"
    assert done.returncode == 121
    assert "evidence cannot be written" in done.stderr


def test_allow_incomplete_keeps_the_commands_status(tmp_path: Path) -> None:
    words = [
        "--evidence",
        "/dev/full",
        "--allow-incomplete",
        "--",
        "sh",
        "-c",
        "exit 3",
    ]

    done = subprocess.run(
        [*WATCH, *words], check=False, capture_output=True, cwd=tmp_path
    )

    assert done.returncode == 3


def test_a_bad_policy_stops_before_the_command(watched: Watch, tmp_path: Path) -> None:
    run = watched(
        *("touch", str(tmp_path / "ran")),
        policy='version = 1\n\n[[allow]]\nhost = "https://example.test/x"\n',
    )

    assert run.status == 125
    assert f"{tmp_path}/policy.toml:4: allow[0].host" in run.stderr
    assert "write the host name alone" in run.stderr
    assert not (tmp_path / "ran").exists()
    assert run.records == []


# Another network namespace with its own "127.0.0.53" is no trusted resolver.
def test_a_resolver_of_the_commands_own_making_names_nothing(watched: Watch) -> None:
    fake = (
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts "
        "--user=root --pid-file= --bind-interfaces --listen-address=10.213.7.2 "
        "--address=/api.example.test/10.9.9.9"
    )
    script = (
        "ip link set lo up; ip addr add 10.213.7.2/32 dev lo; "
        f"PATH=$PATH:/usr/sbin {fake} & until dig +short +tries=1 +time=1 @10.213.7.2 "
        "api.example.test | grep -q 10.9.9.9; do :; done; kill $!"
    )

    run = watched("unshare", "--net", "sh", "-c", script)

    answered = [one for one in run.of("dns") if one["answers"]]
    assert answered
    assert not any(one["trusted"] for one in answered)
    assert os.geteuid() == 0
